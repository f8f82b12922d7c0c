"""Reads the settings: defaults, then the file, then the variables."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import TomlConfigSettingsSource

from agent.errors import SettingsInvalid
from agent.settings.aws import read_aws
from agent.settings.tree import Settings, Written
from agent.settings.variables import POLICY, Variables, leaves, variable

DEFAULT_FILE = Path("/etc/hpc-agent/config.toml")

Tree = dict[str, Any]


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings from the file at `path` (None: DEFAULT_FILE, if there is one) and `environ`.

    Raises SettingsInvalid, one line that names the file or variable, the key and what was expected.
    """
    file = path or DEFAULT_FILE
    told = _read_file(file, required=path is not None)
    overruled = Variables(Written, environ)()
    try:
        written = Written(**_merge(told, overruled))
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False), file, overruled) from error
    aws, aws_origins = read_aws(environ)
    origins = {key: _origin(key, file, told, overruled) for key in _keys(written)}
    origins |= {f"aws.{key}": aws_origins.get(key, "default") for key in type(aws).model_fields}
    origins["slurm_conf"] = "SLURM_CONF" if environ.get("SLURM_CONF") else "default"
    sections = {name: getattr(written, name) for name in Written.model_fields}
    return Settings(**sections, aws=aws, slurm_conf=environ.get("SLURM_CONF", ""), file=path, origins=origins)


def _keys(written: Written) -> list[str]:
    """Every key, and of the policy those that somebody has given."""
    rules = [f"{POLICY}.{key}" for key in written.policy]
    return [key for leaf in leaves(Written) for key in ((rules or [POLICY]) if leaf == POLICY else [leaf])]


def _read_file(file: Path, *, required: bool) -> Tree:
    try:
        if not required and not file.exists():
            return {}
        with file.open("rb"):
            return TomlConfigSettingsSource(Written, file)()
    except OSError as error:
        raise SettingsInvalid("read", f"settings file {file}", error.strerror or repr(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid("read", f"settings file {file}", f"expected TOML: {error}") from error


def _merge(under: Tree, over: Tree) -> Tree:
    merged = dict(under)
    for name, value in over.items():
        below = under.get(name)
        merged[name] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _has(tree: Tree, key: str) -> bool:
    place: Any = tree
    for part in key.split("."):
        if not isinstance(place, dict) or part not in place:
            return False
        place = place[part]
    return bool(place != {})


def _origin(key: str, file: Path, told: Tree, overruled: Tree) -> str:
    if _has(overruled, key):
        return variable(key)
    return f"file:{file}" if _has(told, key) else "default"


def _invalid(problems: list[ErrorDetails], file: Path, overruled: Tree) -> SettingsInvalid:
    problem, *others = problems
    key = ".".join(part for part in problem["loc"][:2] if isinstance(part, str))
    subject = variable(key) if _has(overruled, key) else f"{key} in {file}"
    hints = [_guess(key)] if problem["type"] == "extra_forbidden" else []
    if others:
        hints.append(f"{len(others)} more like this")
    return SettingsInvalid("setting", subject, _expectation(problem), hint="; ".join(filter(None, hints)))


def _guess(key: str) -> str:
    near = get_close_matches(key, [*leaves(Written), *Written.model_fields], n=1)
    return f"did you mean {near[0]}?" if near else ""


def _expectation(problem: ErrorDetails) -> str:
    kind = problem["type"]
    if kind == "extra_forbidden":
        return "there is no such setting"
    given = repr(problem["input"])
    given = given if len(given) <= 80 else given[:77] + "..."
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return f"expected a section, not {given}"
    if kind == "tuple_type":
        return f'expected a list of strings, as ["/scratch"], not {given}'
    said = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"expected {said}, not {given}"
