#!/bin/sh
# Installs hpc-agent as a service, from a bundle, on a compute node that is starting: ParallelCluster's OnNodeConfigured,
# a PCS lifecycle action, EC2 user data, or a person who is root.
#
#   bootstrap.sh --bundle s3://...|https://...|PATH --sha256 HEX --bucket NAME
#       --sha256 HEX         of the archive; may be left out for a PATH only
#       --bucket NAME        where checkpoints go, for a settings file that is written when there is none
#       --mode MODE          act, save-only or observe, for that file
#       --config s3://...|https://...|PATH    a settings file instead; replaces the one that is there
#       --python PATH|URL    a Python, or a .tar.gz of one that holds python/bin/python3 (python-build-standalone)
#       --python-sha256 HEX  of that archive
#   bootstrap.sh --use VERSION      go (back) to a version that is in /opt/hpc-agent
#   bootstrap.sh --uninstall        remove all of it, settings and state too
#       --strict             exit 1 when something went wrong
#
# Without --strict it exits 0 whatever happens: a bootstrap that fails takes the instance with it, and ten of them the
# queue, while a node without an agent still works. What went wrong is in the journal and in
# /var/log/hpc-agent-bootstrap.log. Run it as often as you like: what is done already is not done again. Nothing it
# starts holds its output open, and each step has a limit.
set -u
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
home=/opt/hpc-agent
etc=/etc/hpc-agent
units=/etc/systemd/system
command=/usr/local/bin/hpc-agent
room=$((300 * 1024)) # KiB: the archive (50), what is in it (50), the environment made from it (90), and as much again

fail() { # REASON: end the attempt
    echo "$*" >"$run/reason"
    echo "failed: $*"
    exit 1
}

# Everything that may take long or leave a child behind: with a limit, and without the lock.
limited() { # SECONDS COMMAND...
    seconds=$1
    shift
    timeout -k 5 "$seconds" "$@" 9>&-
}

# Run a step. Should it fail, what it said is in the log, and the last line of that is the reason.
step() { # WHAT SECONDS COMMAND...
    what=$1
    shift
    limited "$@" >"$run/said" 2>&1
    code=$?
    [ $code -ne 0 ] || return 0
    [ $code -ne 124 ] || echo "no end after $1 s" >>"$run/said"
    cat "$run/said"
    fail "$what: $(tail -n 1 "$run/said" | cut -c 1-300)"
}

# --- what there is

# How each distribution gets a Python that is new enough: the package manager and the package.
python_package() {
    case $system in
    amzn:2023*) echo dnf python3.11 ;;
    ubuntu:22.04) echo apt python3.11 ;;
    ubuntu:24.04 | debian:12 | debian:13) echo apt python3 ;;
    rhel:8* | rocky:8* | almalinux:8* | centos:8*) echo dnf python3.11 ;; # in AppStream since 8.8
    rhel:9* | rocky:9* | almalinux:9* | centos:9*) echo dnf python3.11 ;; # since 9.2
    rhel:10* | rocky:10* | almalinux:10* | centos:10*) echo dnf python3 ;;
    *) return 1 ;;
    esac
}

look_around() {
    [ "$(id -u)" = 0 ] || fail "only root can install a service"
    # shellcheck disable=SC1091 # a file of the system
    system=$(. /etc/os-release 2>/dev/null && echo "${ID:-}:${VERSION_ID:-}")
    [ "$system" != amzn:2 ] ||
        fail "Amazon Linux 2 is at its end of life and has no Python that the agent works with: use Amazon Linux 2023"
    for unit in /usr/lib/systemd/system /lib/systemd/system; do
        [ ! -e $unit/hpc-agent.service ] || fail "hpc-agent is installed as a package: upgrade it with the package manager"
    done
    exec 9>/run/hpc-agent-bootstrap.lock || fail "can't write to /run"
    flock -w 120 9 || fail "another bootstrap has been running for two minutes"
}

# --- how things come here

fetch() { # WHAT SOURCE TO
    plain=${2%%\?*} # what follows the ? of a presigned URL is a password
    case $2 in
    s3://*)
        command -v aws >/dev/null || fail "$1: there is no aws command for $plain; install it, or use an https:// URL"
        AWS_MAX_ATTEMPTS=2 AWS_METADATA_SERVICE_TIMEOUT=2 step "$1: $plain" 45 \
            aws s3 cp --only-show-errors --cli-connect-timeout 5 --cli-read-timeout 15 "$2" "$3"
        ;;
    https://*)
        step "$1: $plain" 45 curl --fail --silent --show-error --location --proto '=https' --proto-redir '=https' \
            --connect-timeout 5 --retry 2 --max-time 40 --output "$3" "$2"
        ;;
    /*) step "$1: $2" 45 cp "$2" "$3" ;;
    *) fail "$1: $plain is none of s3://, https://, /path" ;;
    esac
}

check_sum() { # WHAT FILE HEX
    sum=$(sha256sum "$2" | cut -c 1-64)
    [ "$sum" = "$3" ] || fail "$1: its SHA-256 is $sum, not $3"
}

make_room() {
    mkdir -p $home || fail "can't make $home"
    rm -rf $home/.work.*
    free=$(df -Pk $home | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -ge $room ] || fail "$home has $((${free:-0} / 1024)) MiB free and needs $((room / 1024))"
    work=$(mktemp -d $home/.work.XXXXXX) || fail "can't write to $home"
    trap 'rm -rf "$work"' EXIT
}

# Sets $version. A bundle that was installed before is not fetched again: a node that boots without network goes on.
install_bundle() {
    for known in "$home"/*/share/hpc-agent/bundle.sha256; do
        there=${known%/share/hpc-agent/bundle.sha256}
        if [ "$(cat "$known" 2>/dev/null)" = "${sha256:-none}" ] && "$there/bin/python" -I -c 'import agent'; then
            version=${there##*/}
            echo "version $version is here already"
            return
        fi
    done
    make_room
    fetch "the bundle" "$bundle" "$work/bundle.tar.gz"
    [ -z "$sha256" ] || check_sum "the bundle" "$work/bundle.tar.gz" "$sha256"
    step "the bundle can't be unpacked" 60 \
        tar -xzf "$work/bundle.tar.gz" -C "$work" --no-same-owner --strip-components=1
    version=$(cat "$work/VERSION") || fail "the bundle has no VERSION"
    find_python
    step "the environment of version $version" 180 sh "$work/install.sh" make "$python"
    sha256sum "$work/bundle.tar.gz" | cut -c 1-64 >"$home/$version/share/hpc-agent/bundle.sha256" || fail "$home is full"
}

# Sets $python: the one that was given, one that is there, or one that the distribution has.
find_python() {
    case $python in
    s3://* | https://*) unpack_python ;;
    esac
    if [ -z "$python" ] && ! sh "$work/install.sh" find && manager=$(python_package); then
        echo "there is no Python that is new enough: installing ${manager#* }"
        get_package "${manager% *}" "${manager#* }"
    fi
    found=$(sh "$work/install.sh" find "$python" 2>"$run/said") || fail "$(cat "$run/said"), and none for $system; see --python"
    python=$found
    echo "Python: $python"
}

unpack_python() {
    [ -n "$python_sha256" ] || fail "--python with a URL needs --python-sha256"
    there=$home/python-$(echo "$python_sha256" | cut -c 1-12)
    if [ ! -x "$there/bin/python3" ]; then
        fetch "Python" "$python" "$work/python.tar.gz"
        check_sum "Python" "$work/python.tar.gz" "$python_sha256"
        step "Python can't be unpacked" 60 tar -xzf "$work/python.tar.gz" -C "$work" --no-same-owner
        mv "$work/python" "$there" || fail "the archive of Python holds no python/"
    fi
    python=$there/bin/python3
}

get_package() { # MANAGER PACKAGE
    case $1 in
    apt)
        export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
        apt="apt-get -q -y -o DPkg::Lock::Timeout=60 -o Acquire::http::Timeout=10 -o Acquire::Retries=1"
        # shellcheck disable=SC2086 # a list of words
        limited 40 $apt update
        # shellcheck disable=SC2086
        limited 120 $apt install --no-install-recommends "$2"
        ;;
    dnf) limited 150 dnf -q -y --setopt=timeout=10 --setopt=retries=2 --setopt=install_weak_deps=False install "$2" ;;
    esac || echo "$2 could not be installed"
}

# --- what is put in place

place() { # FILE PATH: sets $changed if that changes anything
    cmp -s "$1" "$2" && return
    mkdir -p "$(dirname "$2")"
    rights=$(stat -c %a "$2" 2>/dev/null) || rights=644 # the environment may hold a secret
    if install -m "$rights" "$1" "$2.new" && mv "$2.new" "$2"; then
        changed=1
    else
        fail "can't write $2"
    fi
}

# The settings are read by the version that is to run with them before anything changes.
prepare_settings() {
    settings=$run/config.toml
    if [ -n "$config" ]; then
        fetch "the settings" "$config" "$settings"
    elif [ -e $etc/config.toml ]; then
        [ -z "$bucket" ] || grep -q "\"$bucket\"" $etc/config.toml || echo "left as it is: $etc/config.toml names another bucket"
        cp $etc/config.toml "$settings"
    else
        [ -n "$bucket" ] || fail "there are no settings: give --bucket or --config"
        sed -e "s|^# bucket = \"\"|bucket = \"$bucket\"|" -e "s|^# mode = \"act\"|mode = \"${mode:-act}\"|" \
            "$home/$version/share/hpc-agent/config.toml" >"$settings"
    fi
    step "the settings" 20 env -i PATH="$PATH" "$home/$version/bin/hpc-agent" config --config "$settings"
}

# PCS tells a lifecycle action, and nobody else, which cluster this is.
remember_cluster() {
    [ -n "${PCS_CLUSTER_ID:-}" ] || return 0
    { grep -v '^PCS_CLUSTER_' $etc/environment 2>/dev/null; } >"$run/environment"
    printf 'PCS_CLUSTER_ID=%s\nPCS_CLUSTER_NAME=%s\n' "$PCS_CLUSTER_ID" "${PCS_CLUSTER_NAME:-}" |
        tr -cd 'A-Za-z0-9=_.\n-' >>"$run/environment"
    place "$run/environment" $etc/environment
}

switch() {
    changed=
    prepare_settings
    place "$settings" $etc/config.toml
    remember_cluster
    [ "$(readlink $home/current)" = "$version" ] || changed=1
    step "version $version" 20 sh "$home/$version/share/hpc-agent/install.sh" use "$version"
    for unit in hpc-agent.service hpc-agent-restore.service; do
        place "$home/$version/share/hpc-agent/$unit" $units/$unit
    done
    ln -sfn $home/current/bin/hpc-agent $command
    start
}

start() {
    command -v systemctl >/dev/null || fail "version $version is in place, but there is no systemd to run it"
    if [ ! -d /run/systemd/system ]; then
        step "enable" 20 systemctl enable hpc-agent.service
        fail "version $version is in place and enabled, but systemd is not running here: it starts with the next boot"
    fi
    step "daemon-reload" 30 systemctl daemon-reload
    step "start" 30 systemctl enable --now --no-block hpc-agent.service
    # A stop waits for a rescue that goes on; we do not.
    [ -z "$changed" ] || step "restart" 30 systemctl restart --no-block hpc-agent.service
}

uninstall() {
    for unit in hpc-agent.service hpc-agent-restore.service; do
        [ -e $units/$unit ] || continue
        [ ! -d /run/systemd/system ] || step "it does not stop; a rescue may be going on" 180 systemctl disable --now $unit
        rm -rf ${units:?}/$unit $units/$unit.d $units/*.wants/$unit
        [ ! -d /run/systemd/system ] || limited 30 systemctl daemon-reload
    done
    case $(readlink $command) in $home/*) rm -f $command ;; esac
    rm -rf $home $etc /var/lib/hpc-agent /run/hpc-agent || fail "not all of $home, $etc, /var/lib/hpc-agent could be removed"
}

# --- the attempt and what becomes of it

arguments() {
    bundle='' sha256='' bucket='' mode='' config='' python='' python_sha256='' use='' uninstall=''
    while [ $# -gt 0 ]; do
        case $1 in
        --strict) shift && continue ;;
        --uninstall) uninstall=1 && shift && continue ;;
        --bundle | --sha256 | --bucket | --mode | --config | --python | --python-sha256 | --use) ;;
        *) fail "unknown argument: $1" ;;
        esac
        [ $# -gt 1 ] || fail "$1 needs a value"
        case $1 in
        --bundle) bundle=$2 ;;
        --sha256) sha256=$2 ;;
        --bucket) bucket=$2 ;;
        --mode) mode=$2 ;;
        --config) config=$2 ;;
        --python) python=$2 ;;
        --python-sha256) python_sha256=$2 ;;
        --use) use=$2 ;;
        esac
        shift 2
    done
    case $bucket$mode in *[!a-z0-9.-]*) fail "not a bucket or not a mode: $bucket $mode" ;; esac
    case $use in *[!A-Za-z0-9.+]* | .*) fail "not a version: $use" ;; esac
    [ -n "$bundle$use$uninstall" ] || fail "give --bundle, --use or --uninstall"
    case $bundle in s3://* | https://*) [ -n "$sha256" ] || fail "--bundle with a URL needs --sha256" ;; esac
}

attempt() {
    arguments "$@"
    look_around
    if [ -n "$uninstall" ]; then
        uninstall
        echo "removed" >"$run/done"
        return
    fi
    version=$use
    [ -n "$use" ] || install_bundle
    [ -x "$home/$version/bin/hpc-agent" ] || fail "version $version is not in $home"
    switch
    echo "version $version is in place" >"$run/done"
}

tell() { # PRIORITY LINE
    timeout 5 logger -t hpc-agent-bootstrap -p "daemon.$1" -- "$2" </dev/null >/dev/null 2>&1
    { echo "$2" >>"$log"; } 2>/dev/null
    echo "hpc-agent bootstrap: $2"
}

strict=
for argument; do
    case $argument in
    --strict) strict=1 ;;
    --help) sed -n '2,/^set -u/ { /^#/ s/^# \{0,1\}//p; }' "$0" && exit 0 ;;
    esac
done
for log in /var/log/hpc-agent-bootstrap.log /run/hpc-agent-bootstrap.log /dev/null; do # a full disk has no room for a log
    { echo "--- $(date -u +%Y-%m-%dT%H:%M:%SZ)" >>$log; } 2>/dev/null && break
done
run=$(mktemp -d /run/hpc-agent-bootstrap.XXXXXX 2>/dev/null || mktemp -d)
(attempt "$@") </dev/null >>"$log" 2>&1
if [ -e "$run/done" ]; then
    tell notice "$(cat "$run/done")"
    [ "$(cat "$run/done")" != removed ] || rm -f /var/log/hpc-agent-bootstrap.log /run/hpc-agent-bootstrap.log \
        /run/hpc-agent-bootstrap.lock
    failed=0
else
    tell err "NOT DONE: $(cat "$run/reason" 2>/dev/null || echo "see $log")" >&2
    failed=1
fi
rm -rf "$run"
[ -z "$strict" ] || exit $failed
exit 0
