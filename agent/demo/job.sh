#!/bin/sh
# The demo's job: fills DIR with what scratch directories are full of, says so in READY, and goes on computing.
#
#   job.sh DIR FILES MEGABYTES READY
set -eu
dir=$1 files=$2 megabytes=$3 ready=$4
mkdir "$dir"
cd "$dir"

# Small files of 10 kB, 100 to a directory.
left=$files number=0
while [ "$left" -gt 0 ]; do
  count=$((left < 100 ? left : 100))
  mkdir -p "particles/step-$number"
  head -c $((count * 10000)) /dev/urandom | split -a 3 -d -b 10000 - "particles/step-$number/rank."
  left=$((left - count)) number=$((number + 1))
done

# The rest of the bytes in four large ones.
rest=$((megabytes * 1000000 - files * 10000))
for name in field.h5 mesh.h5 state.bin trace.dat; do
  head -c $((rest > 0 ? rest / 4 : 0)) /dev/urandom >"$name"
done

# Links: relative, absolute, to nowhere, and two names of one file.
ln -s field.h5 latest
ln -s /etc/hostname outside
ln -s not-there-yet dangling
ln particles/step-0/rank.000 same-file

# Names that break scripts: a space, a quote, a line feed, a leading dash, not UTF-8, 255 bytes.
mkdir odd
long=$(printf '%0255d' 0)
for name in 'a space' "a 'quote'" 'a
line feed' -dash 'gr'"$(printf '\303\266\303\237')"'e' "$(printf 'not-utf8-\377')" "$long"; do
  printf '%s\n' "$name" >"odd/$name"
done

# Empty directories and files, a file with a hole, modes, old times, attributes where the file system has them.
mkdir -p empty/a/b empty/c
: >empty-file
truncate -s 500000 sparse
printf end >>sparse
chmod 600 state.bin
chmod 444 trace.dat
chmod 750 particles
chmod 1777 odd
touch -d '2001-02-03 04:05:06.123456789' field.h5
touch -d '1999-12-31 23:59:59.999999999' empty/a
setfattr -n user.run -v 42 mesh.h5 2>/dev/null || :
setfacl -m u:0:r state.bin 2>/dev/null || :

# Nothing can store what is in flight in a FIFO; it must not stop the copy either.
mkfifo control

touch "$ready"
exec sleep 3600
