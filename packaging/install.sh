#!/bin/sh
# Part of the bundle, beside wheels/: makes the agent's own Python environment, with no network. Not for people:
# bootstrap.sh and the deb and rpm packages call it.
#
#   install.sh find [PYTHON]   print the path of a Python this bundle works with; exit 1 and say why when there is none
#   install.sh make PYTHON     make /opt/hpc-agent/<version>; nothing is done when it is there already
#   install.sh use VERSION     lead /opt/hpc-agent/current, and with it the command, to a version that is there
set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
PIP_CONFIG_FILE=/dev/null # a machine's index, proxy or target directory is not for us
export PATH LC_ALL PIP_CONFIG_FILE
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP
home=/opt/hpc-agent
bundle=$(cd "$(dirname "$0")" && pwd)

wrong() {
    echo "$*" >&2
    exit 1
}

# The version of a Python that works with this bundle, nothing for others.
works() { # PYTHON
    [ -x "$1" ] || return 1
    # ParallelCluster's and PCS's own environments move with their releases, and belong to them.
    case $(readlink -f "$1") in /opt/parallelcluster/* | /opt/aws/*) return 1 ;; esac
    # It must be CPython and have venv: minimal installations of Debian lack it.
    version=$(timeout 20 "$1" -I -c 'import sys, venv, ssl, ctypes
assert sys.implementation.name == "cpython"
print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
    grep -qxF "$version" "$bundle/PYTHONS"
}

find() { # [PYTHON]
    if [ -n "${1:-}" ]; then
        works "$1" || wrong "$1 is not a Python this bundle works with ($(wanted))"
        echo "$1"
        return
    fi
    for name in $(sed 's/^/python/' "$bundle/PYTHONS" | sort -r) python3; do
        for place in /usr/bin /usr/local/bin; do
            works "$place/$name" && echo "$place/$name" && return
        done
    done
    wrong "no Python this bundle works with ($(wanted)) in /usr/bin and /usr/local/bin"
}

wanted() { tr '\n' ' ' <"$bundle/PYTHONS" | sed 's/ $//; s/ / or /g; s/^/CPython /; s/$/ with venv/'; }

make() { # PYTHON
    works "$1" || wrong "$1 is not a Python this bundle works with ($(wanted))"
    (cd "$bundle" && sha256sum --check --strict --quiet SHA256SUMS) || wrong "the bundle is damaged: see SHA256SUMS"
    version=$(cat "$bundle/VERSION")
    there=$home/$version
    if cmp -s "$bundle/SHA256SUMS" "$there/share/hpc-agent/SHA256SUMS" && "$there/bin/python" -I -c 'import agent' \
        2>/dev/null; then
        return
    fi
    new=$home/.new-$version
    rm -rf "$new" "$home/.old-$version"
    trap 'rm -rf "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    "$1" -I -m venv --without-pip "$new"
    set -- "$bundle"/wheels/pip-*.whl
    "$new/bin/python" -I -c 'import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("pip", run_name="__main__", alter_sys=True)' \
        "$1" --isolated --disable-pip-version-check --no-cache-dir install --quiet --no-index --no-deps --no-compile \
        --find-links "$bundle/wheels" --require-hashes --only-binary :all: --requirement "$bundle/requirements.txt"
    # A process of its own for each processor: the agent may not write what it compiles, and would compile at each start.
    "$new/bin/python" -I -m compileall -q -j 0 "$new/lib"
    settle "$new" "$there"
    [ ! -d "$there" ] || mv "$there" "$home/.old-$version"
    mv "$new" "$there"
    rm -rf "$home/.old-$version"
}

# A virtual environment knows its own path: what stays of it is told where it will be.
settle() { # NEW THERE
    for script in "$1"/bin/*; do
        case ${script##*/} in
        hpc-agent) sed -i "1s|.*|#!$2/bin/python|" "$script" ;;
        python*) ;;
        *) rm -f "$script" ;; # commands of packages, and `activate`
        esac
    done
    sed -i '/^command = /d' "$1/pyvenv.cfg"
    mkdir -p "$1/share/hpc-agent"
    for file in SHA256SUMS config.toml hpc-agent.service hpc-agent-restore.service LICENSE bootstrap.sh install.sh PYTHONS; do
        cp "$bundle/$file" "$1/share/hpc-agent/$file"
    done
    cp -R "$bundle/slurm" "$1/share/hpc-agent/slurm"
    chmod 755 "$1"/share/hpc-agent/*.sh "$1"/share/hpc-agent/slurm/*/*.sh
}

use() { # VERSION
    [ -x "$home/$1/bin/hpc-agent" ] || wrong "version $1 is not in $home"
    ln -sfn "$1" "$home/.current"
    mv -T "$home/.current" "$home/current" # at once: there is never no link
}

case ${1:-} in
find | make | use) "$@" ;;
*) wrong "usage: install.sh find [PYTHON] | make PYTHON | use VERSION" ;;
esac
