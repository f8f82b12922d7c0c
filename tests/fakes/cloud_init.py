"""Debian's cloud-init on a machine with a real systemd: the instance's user data, carried out as at a boot."""

import json

from tests.fakes.systemd_machine import imds

STAGES = ("cloud-init-local", "cloud-init", "cloud-config", "cloud-final")
# Modules of the distribution that have nothing to do in a namespace, and would change hosts, locales and keys.
SETTINGS = """datasource_list: [Ec2]
datasource: {Ec2: {max_wait: 5, timeout: 2}}
network: {config: disabled}
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
"""
# cloud-init takes a machine for one of EC2 by its DMI only, and reads that only where there is no container.
PROGRAMS = {
    "systemd-detect-virt": "echo none; exit 1",
    "dmidecode": 'case "$*" in *uuid*|*serial*) echo ec2a1b2c-0000-1111-2222-333344445555;; *) echo Amazon EC2;; esac',
}


def prepare(root):
    """Have cloud-init take this machine for an instance of EC2."""
    root.write("/etc/cloud/cloud.cfg.d/99-lab.cfg", SETTINGS)
    for name, text in PROGRAMS.items():
        program(root, f"/usr/local/sbin/{name}", text)
    root.did("mount", "--bind", "/dev/null", "/proc/1/environ")  # `container=` stands there


def program(root, path, text):
    root.write(path, f"#!/bin/sh\n{text}\n")
    root.did("chmod", "755", path)


def bucket(root, files):
    """An `aws` that copies from a bucket with these files: names to their text or the path of another file inside."""
    root.did("mkdir", "-p", "/var/install")
    for name, text in files.items():
        root.write(f"/var/install/{name}", text)
    find = "for to; do :; done\nfor from; do case $from in s3://*) break ;; esac; done\n"
    program(root, "/usr/local/bin/aws", f'{find}cp "/var/install/${{from##*/}}" "$to"')


def boot(root, user_data):
    """Boot with this user data, once more if it was before; return what cloud-init says of it."""
    with imds(root) as metadata:
        metadata.set("user-data", user_data)
        for stage in STAGES:
            root.run("systemctl", "stop", f"{stage}.service")
        for stage in STAGES:
            done = root.run("systemctl", "start", f"{stage}.service", seconds=200)
            assert done.returncode == 0, (stage, root.run("journalctl", "-u", stage, "-o", "cat").stdout)
    return json.loads(root.inside("/run/cloud-init/result.json").read_text())["v1"]
