#!/bin/sh
# Puts hpc-agent's Epilog and Prolog into the directories of Slurm that all nodes of a ParallelCluster share. Runs on the
# head node: OnNodeConfigured of a new cluster, OnNodeUpdated of one that exists, or a person who is root.
#
#   head-node.sh --bundle s3://...|https://...|PATH --sha256 HEX
#       --sha256 HEX    of the archive, the one that the nodes install; may be left out for a PATH only
#   head-node.sh --uninstall
#       --slurm DIR     where Slurm is: /opt/slurm
#       --strict        exit 1 when something went wrong
#
# Without --strict it exits 0 whatever happens: a head node that fails its bootstrap takes the cluster with it, and jobs
# run without these files, too. What went wrong is in the journal: journalctl -t hpc-agent-head-node. Run it as often as
# you like. It neither restarts nor reconfigures Slurm: the files are found when the next job starts or ends.
set -u
umask 022
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

fail() { # REASON: end the attempt
    echo "$*"
    exit 1
}

arguments() {
    bundle='' sha256='' uninstall='' slurm=/opt/slurm
    while [ $# -gt 0 ]; do
        case $1 in
        --strict) shift && continue ;;
        --uninstall) uninstall=1 && shift && continue ;;
        --bundle | --sha256 | --slurm) [ $# -gt 1 ] || fail "$1 needs a value" ;;
        *) fail "unknown argument: $1" ;;
        esac
        case $1 in
        --bundle) bundle=$2 ;;
        --sha256) sha256=$2 ;;
        --slurm) slurm=$2 ;;
        esac
        shift 2
    done
    [ -n "$bundle$uninstall" ] || fail "give --bundle or --uninstall"
    case $bundle in s3://* | https://*) [ -n "$sha256" ] || fail "--bundle with a URL needs --sha256" ;; esac
    [ -d "$slurm/etc" ] || fail "there is no $slurm/etc: this is no head node of ParallelCluster"
    scripts=$slurm/etc/scripts
}

fetch() {
    plain=${bundle%%\?*} # what follows the ? of a presigned URL is a password
    case $bundle in
    s3://*) AWS_MAX_ATTEMPTS=2 timeout -k 5 45 aws s3 cp --only-show-errors "$bundle" "$work/bundle.tar.gz" ;;
    https://*)
        curl --fail --silent --show-error --location --proto '=https' --proto-redir '=https' --connect-timeout 5 \
            --retry 2 --max-time 40 --output "$work/bundle.tar.gz" "$bundle"
        ;;
    /*) timeout -k 5 45 cp "$bundle" "$work/bundle.tar.gz" ;;
    *) fail "$plain is none of s3://, https://, /path" ;;
    esac || fail "the bundle could not be fetched: $plain"
    sum=$(sha256sum "$work/bundle.tar.gz" | cut -c 1-64)
    [ "$sum" = "${sha256:-$sum}" ] || fail "the bundle: its SHA-256 is $sum, not $sha256"
    timeout -k 5 60 tar -xzf "$work/bundle.tar.gz" -C "$work" --no-same-owner --strip-components=1 --wildcards '*/slurm/*' ||
        fail "the bundle holds no scripts for Slurm: $plain"
}

# Slurm runs all that `*` finds there, at any moment: the new file comes with a name that `*` does not find.
place() { # FILE PATH
    [ -s "$work/slurm/$1" ] || fail "the bundle has no $1"
    cmp -s "$work/slurm/$1" "$2" && [ -x "$2" ] && return
    new=${2%/*}/.hpc-agent.new
    if mkdir -p "${2%/*}" && cp "$work/slurm/$1" "$new" && chmod 755 "$new" && mv "$new" "$2"; then
        echo "written: $2"
    else
        fail "can't write $2"
    fi
}

named() { # WHAT: whether the configuration of Slurm names it
    grep -Rqs --include='*.conf' -e "$1" "$slurm/etc"
}

install() {
    fetch
    place task_prolog.d/hpc-agent.sh "$scripts/hpc-agent-task-prolog.sh"
    place prolog.d/10-hpc-agent.sh "$scripts/prolog.d/10-hpc-agent.sh"
    place epilog.d/90-hpc-agent.sh "$scripts/epilog.d/90-hpc-agent.sh"
    for directory in prolog.d epilog.d; do
        named "$scripts/$directory" || fail "all is in place, but no slurm.conf in $slurm/etc names $scripts/$directory"
    done
    echo "Epilog and Prolog are in place"
}

uninstall() {
    rm -f "$scripts/prolog.d/10-hpc-agent.sh" "$scripts/epilog.d/90-hpc-agent.sh" "$scripts"/*.d/.hpc-agent.new ||
        fail "not all of it could be removed from $scripts"
    # A TaskProlog that is named and missing is an error of every job.
    if named hpc-agent-task-prolog; then
        echo "removed, but for $scripts/hpc-agent-task-prolog.sh: take TaskProlog out of the cluster's configuration first"
    else
        rm -f "$scripts/hpc-agent-task-prolog.sh" || fail "can't remove $scripts/hpc-agent-task-prolog.sh"
        echo "removed"
    fi
}

attempt() {
    arguments "$@"
    if [ -n "$uninstall" ]; then uninstall; else install; fi
}

strict=
for argument; do
    case $argument in
    --strict) strict=1 ;;
    --help) sed -n '2,/^set -u/ { /^#/ s/^# \{0,1\}//p; }' "$0" && exit 0 ;;
    esac
done
failed=1 result="there is no place for temporary files" priority=err
if work=$(mktemp -d 2>/dev/null); then
    (attempt "$@") </dev/null >"$work/said" 2>&1
    failed=$?
    result=$(tail -n 1 "$work/said" | cut -c 1-300)
    cat "$work/said"
    rm -rf "$work"
fi
if [ "$failed" = 0 ]; then priority=notice; else result="NOT DONE: $result"; fi
timeout 5 logger -t hpc-agent-head-node -p "daemon.$priority" -- "$result" </dev/null >/dev/null 2>&1
echo "hpc-agent on the head node: $result"
[ -z "$strict" ] || exit "$failed"
exit 0
