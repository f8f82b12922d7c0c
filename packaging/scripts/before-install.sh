#!/bin/sh
# deb: install|upgrade ...; rpm: 1|2
set -e
if [ -e /etc/systemd/system/hpc-agent.service ]; then
    echo "hpc-agent: it is installed by bootstrap.sh here; take that away first: bootstrap.sh --uninstall" >&2
    exit 1
fi
