"""Reads what the operator wrote, the variables over the file, and holds it to what each setting asks for.

Alone in importing pydantic-settings, which takes longer than all else that a short command does: `load` comes here only
when something was written.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from agent.errors import SettingsInvalid
from agent.settings.tree import POLICY, Written, leaves
from agent.settings.variables import Variables, variable

Tree = dict[str, Any]

_UNKNOWN: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})


class _Checked(BaseSettings):
    """Reads nothing by itself: it is given what was read."""

    model_config = SettingsConfigDict(extra="forbid", validate_default=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def read(file: Path, environ: Mapping[str, str], *, has_file: bool) -> tuple[Written, dict[str, str]]:
    """Return what was written, and by its dotted key what each setting comes from. Raises SettingsInvalid."""
    keys: dict[str, Any] = {each.name: (each.type, None) for each in fields(Written)}
    model = create_model("Written", __base__=_Checked, **keys)
    told = _read_file(model, file) if has_file else {}
    overruled = Variables(model, environ)()
    try:
        checked = model(**_merge(told, overruled))
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False), file, overruled) from error
    written = Written(**{name: getattr(checked, name) for name in checked.model_fields_set})
    return written, {key: _origin(key, file, told, overruled) for key in _keys(written)}


def _keys(written: Written) -> list[str]:
    """Every key, and of the policy those that somebody has given."""
    rules = [f"{POLICY}.{key}" for key in written.policy]
    return [key for leaf in leaves(written) for key in ((rules or [POLICY]) if leaf == POLICY else [leaf])]


def _read_file(model: type[BaseSettings], file: Path) -> Tree:
    try:
        with file.open("rb"):
            return TomlConfigSettingsSource(model, file)()
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
    hints = [_guess(key)] if problem["type"] in _UNKNOWN else []
    if others:
        hints.append(f"{len(others)} more like this")
    return SettingsInvalid("setting", subject, _expectation(problem), hint="; ".join(filter(None, hints)))


def _guess(key: str) -> str:
    near = get_close_matches(key, [*leaves(Written()), *(each.name for each in fields(Written))], n=1)
    return f"did you mean {near[0]}?" if near else ""


def _expectation(problem: ErrorDetails) -> str:
    kind = problem["type"]
    if kind in _UNKNOWN:
        return "there is no such setting"
    given = repr(problem["input"])
    given = given if len(given) <= 80 else given[:77] + "..."
    if kind in {"dataclass_type", "dict_type"}:
        return f"expected a section, not {given}"
    if kind == "tuple_type":
        return f'expected a list of strings, as ["/scratch"], not {given}'
    said = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"expected {said}, not {given}"
