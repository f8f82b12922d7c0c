#!/bin/sh
# deb: remove|purge|upgrade ...; rpm: 0 when it goes, 1 at an upgrade
set -e
case ${1:-} in
remove | 0) rm -rf /opt/hpc-agent ;;
purge) rm -rf /etc/hpc-agent /var/lib/hpc-agent ;;
*) exit 0 ;;
esac
[ ! -d /run/systemd/system ] || systemctl daemon-reload
