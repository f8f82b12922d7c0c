#!/bin/sh
# deb: remove|upgrade ...; rpm: 0 when it goes, 1 at an upgrade
set -e
case ${1:-} in remove | 0) ;; *) exit 0 ;; esac
if [ -d /run/systemd/system ]; then
    systemctl disable --now hpc-agent.service hpc-agent-restore.service # waits for a rescue that goes on
elif command -v systemctl >/dev/null; then
    systemctl disable hpc-agent.service hpc-agent-restore.service
fi
