#!/bin/bash
# A real systemd as process 1 of a copy-on-write image of this machine, or of the system in $LAB_ROOT. Driven by systemd_root.py, never by hand.
#
#   systemd_root.sh probe       exit 0 when this machine lets us start one
#   systemd_root.sh keep DIR    run one until stdin ends, however the driver dies; leaves only DIR behind
#   systemd_root.sh power DIR   what is switched on: the disk, and the machine on it
#   systemd_root.sh init DIR    process 1, still on the host's root: build the new root, step into it, become systemd
set -euo pipefail
PATH=/usr/sbin:/usr/bin:/sbin:/bin
SELF=$(realpath "$0")

own_host_pid() { # bash's own pid in the pid namespace that /proc was mounted from
  local pid rest
  read -r pid rest </proc/self/stat
  echo "$pid"
}

unified() { awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts; }

disk() { # DIRECTORY: in memory, with what a machine writes over the image
  mount -t tmpfs -o size=2g,mode=755 lab "$1"
  mkdir "$1"/{upper,work,root}
}

image() { # DIRECTORY
  mount -t overlay -o "lowerdir=${LAB_ROOT:-/},upperdir=$1/upper,workdir=$1/work" lab "$1/root"
}

probe() {
  local group
  group=$(unified)/hpc-agent-probe-$$
  mkdir "$group"
  rmdir "$group"
  unshare --net --mount --uts --ipc --cgroup --pid --fork --kill-child=KILL bash -ec "
    $(declare -f disk image)
    disk /mnt
    image /mnt"
}

keep() { # DIR
  trap '' INT TERM HUP
  local group machine
  group=$(unified)/hpc-agent-systemd-$(stat -c %i "$1")
  mkdir "$group"
  (
    echo 0 >"$group/cgroup.procs"
    exec setpriv --pdeathsig KILL unshare --mount bash "$SELF" power "$1"
  ) </dev/null >"$1/console.log" 2>&1 &
  machine=$!
  while read -r _; do :; done
  kill -KILL "$machine" 2>/dev/null || :
  wait "$machine" 2>/dev/null || :
  for _ in $(seq 100); do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.02
  done
}

power() { # DIR: start it, and again on the same disk when it reboots or is cut off
  mount --make-rprivate /
  mkdir "$1/root"
  disk "$1/root"
  local code
  while :; do
    code=0
    setpriv --pdeathsig KILL unshare --net --mount --uts --ipc --cgroup --pid --fork --kill-child=KILL \
      bash "$SELF" init "$1" || code=$?
    [ $code = 129 ] || rm "$1/cut" || exit $code # SIGHUP: how a namespace reboots
  done
}

fill_dev() { # ROOT
  mount -t tmpfs -o mode=755 lab "$1/dev"
  mkdir "$1"/dev/{pts,shm,mqueue}
  local name link
  for name in null zero full random urandom tty fuse; do
    : >"$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
  done
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$1/dev/pts"
  for link in ptmx:pts/ptmx fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    ln -s "${link#*:}" "$1/dev/${link%%:*}"
  done
  mount -t tmpfs -o mode=1777 lab "$1/dev/shm"
}

calm_down() { # ROOT: what a namespace can't run, and what the host has enabled, stays off
  local unit
  for unit in systemd-udevd.service systemd-udev-trigger.service systemd-timesyncd.service systemd-logind.service \
    systemd-remount-fs.service systemd-binfmt.service systemd-sysctl.service systemd-modules-load.service \
    systemd-networkd.service networking.service getty.target cloud-init.target; do
    ln -sf /dev/null "$1/etc/systemd/system/$unit"
  done
  rm -f "$1"/etc/systemd/system/{multi-user,graphical,timers,sockets}.target.wants/*
  : >"$1/etc/fstab"
  rm -f "$1/.dockerenv" # else systemd-detect-virt says docker
  [ -s "$1/etc/machine-id" ] || tr -d - </proc/sys/kernel/random/uuid >"$1/etc/machine-id"
}

init() { # DIR
  mount --make-rprivate /
  own_host_pid >"$1/pid.new"
  mv "$1/pid.new" "$1/pid"
  image "$1/root"
  local root=$1/root/root
  mkdir -p "$root"/{proc,sys,dev,run,tmp,scratch}
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  fill_dev "$root"
  mount -t tmpfs -o mode=755 lab "$root/run"
  mount -t tmpfs -o mode=1777 lab "$root/tmp"
  local path # what the program needs and would not see, as a checkout below /tmp
  while IFS= read -r path; do
    [ -n "$path" ] || continue
    mkdir -p "$root$path"
    mount --rbind "$path" "$root$path"
  done <<<"${LAB_BINDS:-}"
  if [ ! -e "$1/booted" ]; then
    calm_down "$root"
    cp -a --no-preserve=ownership "$1/files/." "$root/"
    : >"$1/booted"
  fi
  cat /proc/sys/kernel/random/uuid >"$root/run/boot_id" # each boot has an id of its own
  mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"
  hostname lab
  ip link set lo up
  ip addr add 169.254.169.254/32 dev lo
  cd "$root"
  mkdir old
  pivot_root . old
  umount -l /old
  rmdir /old
  cd /
  mount --make-rshared / # as systemd finds it on a host: mounts made later reach the services
  exec env -i container=lab PATH="$PATH" /lib/systemd/systemd --log-target=console --log-level=notice --show-status=no
}

"$@"
