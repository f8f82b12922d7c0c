#!/bin/bash
# The node side of the lab: everything that has to happen inside namespaces. Driven by cluster.py, never by hand.
#
#   node.sh probe                     exit 0 when this machine lets us make such nodes
#   node.sh keep DIR                  outlives the driver: ends and removes everything when stdin ends
#   node.sh hold DIR                  process 1 of the namespace that all nodes live in
#   node.sh boot DIR NAME IP          enter the node's cgroup and namespaces, then `init`
#   node.sh init DIR NAME IP          process 1 of a node, still on the host's root: build the node's root, step into it
#   node.sh serve NAME                process 1 of a node, at home: start the daemons, reap for ever
#
# LAB_SCRATCH: size of /scratch; LAB_BINDS: host paths to show to the nodes, one per line; LAB_SLURMD=0: no slurmd yet.
set -euo pipefail
PATH=/usr/sbin:/usr/bin:/sbin:/bin
SELF=$(realpath "$0")

own_host_pid() { # bash's own pid in the pid namespace that /proc was mounted from
  local pid rest
  read -r pid rest </proc/self/stat
  echo "$pid"
}

cgroups_of() { # DIR -> the lab's cgroup, nothing where there is no cgroup v2 hierarchy
  local at
  at=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  [ -z "$at" ] || echo "$at/hpc-agent-lab-$(stat -c %i "$1")"
}

overlay_root() { # MOUNT_POINT: a copy-on-write image of the host's / that lives in memory; leaves it at MOUNT_POINT/root
  mount -t tmpfs -o size=2g,mode=755 lab "$1"
  mkdir "$1"/{upper,work,root}
  mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" lab "$1/root"
}

probe() {
  unshare --net --mount --uts --ipc --cgroup --pid --fork --kill-child=KILL bash -ec '
    mount -t tmpfs -o size=1m lab /mnt && mkdir /mnt/{upper,work,root}
    mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work lab /mnt/root
    ip link add br0 type bridge && ip link add v0 type veth peer name v1'
}

keep() { # DIR
  trap '' INT TERM HUP
  setpriv --pdeathsig KILL unshare --pid --fork --kill-child=KILL bash "$SELF" hold "$1" || :
  local groups _
  groups=$(cgroups_of "$1")
  for _ in $(seq 100); do
    [ -d "$groups" ] || break
    find "$groups" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.02
  done
  rm -rf -- "${1:?}"/{run,root,shared}
  rmdir -- "$1" 2>/dev/null || :
}

hold() { # DIR
  own_host_pid >"$1/run/hold.new"
  mv "$1/run/hold.new" "$1/run/hold.pid"
  while read -r _; do :; done
}

boot() { # DIR NAME IP
  local group
  group=$(cgroups_of "$1")
  [ -z "$group" ] || { mkdir -p "$group/$2" && echo 0 >"$group/$2/cgroup.procs"; } || :
  exec unshare --net --mount --uts --ipc --cgroup --pid --fork --kill-child=KILL bash "$SELF" init "$@"
}

fill_dev() { # ROOT
  mount -t tmpfs -o mode=755 lab "$1/dev"
  mkdir "$1"/dev/{pts,shm,mqueue}
  local name link
  for name in null zero full random urandom tty fuse; do
    [ -e "/dev/$name" ] || continue
    : >"$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
  done
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$1/dev/pts"
  for link in ptmx:pts/ptmx fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    ln -s "${link#*:}" "$1/dev/${link%%:*}"
  done
  mount -t tmpfs -o mode=1777 lab "$1/dev/shm"
}

fill_etc() { # ROOT DIR NAME
  mkdir -p "$1/etc/slurm"
  cp "$2/run/slurm.conf" "$1/etc/slurm/slurm.conf"
  # Slurm before 24.11 refuses to start without a cgroup plugin, and v1 is the one that needs nothing mounted.
  case $(slurmd -V) in
    *\ 2[0123].*) echo CgroupPlugin=cgroup/v1 ;;
    *) echo CgroupPlugin=disabled ;;
  esac >"$1/etc/slurm/cgroup.conf"
  install -d -o munge -g munge -m 700 "$1/etc/munge"
  install -o munge -g munge -m 400 "$2/run/munge.key" "$1/etc/munge/munge.key"
  cp "$2/run/hosts" "$1/etc/hosts"
  echo "$3" >"$1/etc/hostname"
  rm -f "$1/.dockerenv" # else systemd-detect-virt says docker
  grep -q ^alice: "$1/etc/passwd" || {
    echo 'alice:x:4242:4242::/shared/home:/bin/bash' >>"$1/etc/passwd"
    echo 'alice:x:4242:' >>"$1/etc/group"
  }
}

show_binds() { # ROOT
  local path
  while IFS= read -r path; do
    [ -n "$path" ] || continue
    mkdir -p "$1$path"
    mount --rbind "$path" "$1$path"
  done <<<"${LAB_BINDS:-}"
}

plug_in() { # DIR NAME IP: head has the bridge, a node brings its own cable
  ip link set lo up
  ip addr add 169.254.169.254/32 dev lo
  if [ "$2" = head ]; then
    # An address of its own: else the bridge has its lowest port's, and when that node goes the head is out of reach of
    # the others for the 10 s that they believe the old one.
    ip link add br0 address 02:00:0a:63:00:01 type bridge
    ip addr add "$3/16" dev br0
    ip link set br0 up
    return
  fi
  local head
  until head=$(cat "$1/run/head.pid" 2>/dev/null); do sleep 0.01; done
  ip link add eth0 type veth peer name "v$2" netns "/proc/$head/ns/net"
  nsenter --net="/proc/$head/ns/net" ip link set "v$2" master br0 up
  ip addr add "$3/16" dev eth0
  ip link set eth0 up
}

init() { # DIR NAME IP
  mount --make-rprivate /
  plug_in "$@"
  own_host_pid >"$1/run/$2.new"
  mv "$1/run/$2.new" "$1/run/$2.pid"
  overlay_root "$1/root"
  local root=$1/root/root
  mkdir -p "$root"/{scratch,shared,proc,sys,dev,run,tmp}
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || : # not on a host with cgroups v1 only
  fill_dev "$root"
  fill_etc "$root" "$1" "$2"
  mount -t tmpfs -o mode=755 lab "$root/run"
  mount -t tmpfs -o mode=1777 lab "$root/tmp"
  mount -t tmpfs -o "size=${LAB_SCRATCH:-256m},mode=1777" lab "$root/scratch"
  show_binds "$root"
  mount --bind "$1/shared" "$root/shared"
  hostname "$2"
  install -m 755 "$SELF" "$root/run/lab-node.sh"
  exec 9>"$1/run/$2.ready"
  cd "$root"
  mkdir old
  pivot_root . old
  umount -l /old
  rmdir /old
  cd /
  exec /bin/bash /run/lab-node.sh serve "$2" </dev/null # a fresh shell: this one's script and program are the host's
}

serve() { # NAME
  export HOME=/root LANG=C.UTF-8
  install -d -o munge -g munge -m 755 /run/munge
  install -d -o slurm -g slurm -m 755 /run/slurmctld /var/spool/slurmctld
  install -d -m 755 /var/spool/slurmd
  setpriv --reuid munge --regid munge --init-groups munged -F >"/shared/log/munged-$1.log" 2>&1 9>&- &
  until [ -S /run/munge/munge.socket.2 ]; do sleep 0.01; done
  if [ "$1" = head ]; then
    setpriv --reuid slurm --regid slurm --init-groups slurmctld -D -i >>/shared/log/slurmctld.out 2>&1 9>&- &
  elif [ "${LAB_SLURMD:-1}" = 1 ]; then
    slurmd -D -N "$1" >>"/shared/log/slurmd-$1.out" 2>&1 9>&- &
  fi
  echo ready >&9
  exec 9>&-
  trap 'exit 0' TERM
  sleep infinity &
  while :; do wait || :; done
}

"$@"
