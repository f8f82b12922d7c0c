"""Makes the bundle: one archive that installs the agent on a machine without network. `make bundle`.

    python packaging/bundle.py [--arch x86_64] [--python 3.11 ...] [--to dist]

It holds the agent and every package it needs at run time as wheels, for each of the Pythons, pinned by constraints.txt
and by hash; the units; the settings; Slurm's Prolog and Epilog; install.sh and bootstrap.sh; SHA256SUMS. The same
commit and the same constraints give the same bytes: sorted names, no owners, one time (SOURCE_DATE_EPOCH, else that of
the commit).
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CONSTRAINTS: Final = ROOT / "constraints.txt"
PYTHONS: Final = ("3.11", "3.12", "3.13")
ARCHITECTURES: Final[Mapping[str, str]] = {
    "x86_64": "tested",
    "aarch64": "resolved and hashed, but NOT TESTED",
}
GLIBC: Final = 28
"""Minor version of the oldest C library, 2.28: that of RHEL 8 and Rocky 8. Amazon Linux 2023 has 2.34."""
PIP: Final = "pip==26.3"
"""Comes along, because Debian and Ubuntu take it out of Python's own venv. It does not stay in the environment."""
PROGRAMS: Final = ("packaging/install.sh", "packaging/bootstrap.sh")
FILES: Final = ("packaging/config.toml", "systemd/hpc-agent.service", "systemd/hpc-agent-restore.service", "LICENSE")
SLURM: Final = ROOT / "packaging/slurm"
"""Prolog, Epilog, TaskProlog, examples: as they stand, below `slurm/`."""


def main() -> None:
    asked = argparse.ArgumentParser(description="make the bundle")
    asked.add_argument("--arch", choices=sorted(ARCHITECTURES), default="x86_64")
    asked.add_argument("--python", nargs="+", choices=PYTHONS, default=list(PYTHONS), help="versions it works with")
    asked.add_argument("--to", type=Path, default=ROOT / "dist", metavar="DIRECTORY")
    chosen = asked.parse_args()
    chosen.to.mkdir(parents=True, exist_ok=True)
    epoch = _epoch()
    with tempfile.TemporaryDirectory() as scratch:
        content = Path(scratch) / "content"
        wheels = content / "wheels"
        own = _own_wheel(Path(scratch) / "own", epoch)
        for python in chosen.python:
            _download(own, wheels, arch=chosen.arch, python=python)
        version = own.name.split("-")[1]
        _write_content(content, version=version, arch=chosen.arch, pythons=chosen.python)
        archive = chosen.to / f"hpc-agent-{version}-{chosen.arch}.tar.gz"
        _pack(content, archive, epoch)
    print(f"{_sha256(archive)}  {archive}")  # noqa: T201 - what the user came for


def _epoch() -> int:
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    asked = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, check=False)
    return int(asked.stdout or 0)


def _own_wheel(to: Path, epoch: int) -> Path:
    offline = ["--no-deps", "--no-build-isolation"]
    _pip("wheel", *offline, "--wheel-dir", to, ROOT, environ={"SOURCE_DATE_EPOCH": str(epoch)})
    (wheel,) = to.glob("hpc_agent-*.whl")
    return wheel


def _download(own: Path, to: Path, *, arch: str, python: str) -> None:
    """Download what `own` needs on one Python of one architecture. pip takes a list of platforms, newest first."""
    platforms = [f"--platform=manylinux_2_{minor}_{arch}" for minor in range(GLIBC, 4, -1)]
    platforms += [f"--platform=manylinux{old}_{arch}" for old in ("2014", "2010", "1")]
    where = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    _pip("download", "--dest", to, "--constraint", CONSTRAINTS, *where, own, PIP)


def _pip(command: str, *arguments: str | Path, environ: Mapping[str, str] | None = None) -> None:
    pip = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments], check=True, env={**os.environ, **(environ or {})})


def _write_content(content: Path, *, version: str, arch: str, pythons: Sequence[str]) -> None:
    for name in (*PROGRAMS, *FILES):
        shutil.copyfile(ROOT / name, content / Path(name).name)
    shutil.copytree(SLURM, content / "slurm")
    (content / "requirements.txt").write_text(_requirements(content / "wheels", version))
    (content / "VERSION").write_text(f"{version}\n")
    (content / "PYTHONS").write_text("\n".join([*pythons, ""]))
    (content / "README").write_text(
        f"hpc-agent {version} for {arch}, CPython {', '.join(pythons)}, glibc 2.{GLIBC} or newer.\n"
        f"This architecture is {ARCHITECTURES[arch]}.\n"
        "sh bootstrap.sh --bundle THIS_ARCHIVE --bucket NAME   installs it as a service; --help tells the rest.\n"
    )
    files = sorted(path for path in content.rglob("*") if path.is_file())
    sums = [f"{_sha256(path)}  {path.relative_to(content)}\n" for path in files]
    (content / "SHA256SUMS").write_text("".join(sums))


def _requirements(wheels: Path, version: str) -> str:
    """Return every wheel as a pinned and hashed line. Raises SystemExit for one that constraints.txt does not pin."""
    pinned = {_plain(line.partition("==")[0]) for line in CONSTRAINTS.read_text().splitlines()} | {"pip", "hpc-agent"}
    hashes = defaultdict[str, list[str]](list)
    for wheel in sorted(wheels.glob("*.whl")):
        name, release = wheel.name.split("-")[:2]
        if _plain(name) not in pinned:
            raise SystemExit(f"constraints.txt does not pin {name}: make lock")
        if _plain(name) != "pip":
            hashes[f"{_plain(name)}=={release}"].append(_sha256(wheel))
    assert f"hpc-agent=={version}" in hashes
    return "".join(
        requirement + "".join(f" --hash=sha256:{digest}" for digest in digests) + "\n"
        for requirement, digests in sorted(hashes.items())
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(content: Path, archive: Path, epoch: int) -> None:
    top = archive.name.removesuffix(".tar.gz")
    new = archive.with_suffix(".new")
    with (
        new.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(path for path in content.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(f"{top}/{path.relative_to(content)}")
            member.size, member.mtime = path.stat().st_size, epoch
            member.mode = 0o755 if path.suffix == ".sh" else 0o644
            with path.open("rb") as file:
                tar.addfile(member, file)
    new.replace(archive)


if __name__ == "__main__":
    main()
