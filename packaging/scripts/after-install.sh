#!/bin/sh
# deb: configure [OLD-VERSION]; rpm: 1 at the first time, 2 at an upgrade
set -e
case ${1:-} in
configure) first=$([ -n "${2:-}" ] || echo yes) ;;
1) first=yes ;;
2) first= ;;
*) exit 0 ;;
esac
bundle=/usr/lib/hpc-agent
version=$(cat $bundle/VERSION)
before=$(readlink /opt/hpc-agent/current || true)
python=$(sh $bundle/install.sh find)
sh $bundle/install.sh make "$python"
sh $bundle/install.sh use "$version"
# An agent that saves its node right now goes on with its own version; what is older than that has no use.
for there in /opt/hpc-agent/*/; do
    case $(basename "$there") in "$version" | "$before" | current) ;; *) rm -rf "$there" ;; esac
done
if command -v systemctl >/dev/null; then
    [ -z "$first" ] || systemctl enable hpc-agent.service
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        if [ -n "$first" ]; then
            systemctl start --no-block hpc-agent.service
        else
            systemctl try-restart --no-block hpc-agent.service
        fi
    fi
fi
