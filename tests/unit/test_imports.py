"""The arrows between packages: who may import whom, and which door leads to which library."""

import ast
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[2] / "agent"

BASE = {"errors", "clock", "chance", "processes", "checksum", "model", "printable", "turns", "value"}
ARROWS = {
    "errors": set(),
    "clock": set(),
    "chance": set(),
    "processes": {"errors", "value"},
    "crt": set(),
    "checksum": {"errors", "crt"},
    "model": {"clock", "value"},
    "printable": set(),
    "turns": set(),
    "value": set(),
    "evacuation": {"errors", "clock", "model", "value"},
    "imds": BASE,
    "notices": BASE | {"imds"},
    "slurm": BASE,
    "scratch": BASE,
    "store": BASE,
    "aws": BASE | {"store"},
    "checkpoint": BASE | {"store", "scratch"},
    "jobs": BASE,
    "copier": BASE | {"store", "scratch", "checkpoint", "aws", "observe.logs"},
    "journal": BASE | {"evacuation"},
    "observe": BASE | {"evacuation"},
    "settings": BASE | {"jobs.ownership"},
    "daemon": BASE
    | {
        "evacuation",
        "imds",
        "notices",
        "slurm",
        "journal",
        "observe",
        "settings",
        "copier.protocol",
        "jobs",
        "checkpoint.keys",
        "scratch.mount",
        "scratch.layers",
    },
    "doctor": BASE | {"settings", "imds", "slurm", "checkpoint.keys", "scratch.mount"},
    "cli": BASE
    | {"doctor", "jobs", "slurm"}
    | {"settings", "daemon", "scratch.mount", "checkpoint", "copier", "aws", "store", "demo", "observe", "imds"},
    "demo": BASE | {"settings", "aws", "store", "checkpoint"},
    "__main__": {"cli"},
}
DOORS = {
    "aioboto3": {"aws"},
    "botocore": {"aws"},
    "aiobotocore": {"aws"},
    "aiohttp": {"imds/client", "observe/http", "demo/imds", "aws/errors"},
    "prometheus_client": {"observe/metrics", "observe/http"},
    "awscrt": {"crt"},
    "pydantic": {"settings", "imds/documents"},
    "pydantic_settings": {"settings"},
    "rich": {"cli", "demo"},
    "subprocess": {"processes", "demo", "daemon/child"},
}


def sources():
    return sorted(AGENT.rglob("*.py"))


def imported(source: Path):
    """Every module named in an import of the file, wherever in the file it stands."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package(source: Path) -> str:
    first = source.relative_to(AGENT).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("source", sources(), ids=lambda path: str(path.relative_to(AGENT)))
def test_a_package_imports_only_what_its_arrows_allow(source):
    own = package(source)
    if own == "__init__":
        return
    for name in imported(source):
        parts = name.split(".")
        if parts[0] != "agent" or len(parts) == 1 or parts[1] in {own, "__version__"}:
            continue
        allowed = ARROWS[own]
        assert parts[1] in allowed or ".".join(parts[1:3]) in allowed, f"{own} must not import {name}"


@pytest.mark.parametrize("source", sources(), ids=lambda path: str(path.relative_to(AGENT)))
def test_a_library_is_used_behind_its_door_only(source):
    where = str(source.relative_to(AGENT)).removesuffix(".py")
    for name in imported(source):
        library = name.split(".", maxsplit=1)[0]
        doors = DOORS.get(library)
        assert doors is None or any(where == d or where.startswith(f"{d}/") for d in doors), (
            f"{where} must not import {library}"
        )
