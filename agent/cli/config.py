"""`hpc-agent config`: the settings in force, and where each came from."""

import argparse
import json
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from agent.cli.exits import Exit
from agent.cli.output import document, say
from agent.settings import Settings, load
from agent.settings.policy import PolicyRule
from agent.settings.units import write_duration, write_size

_PASSWORD = re.compile(r"(?<=://)[^/@]*@")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON document")


def run(chosen: argparse.Namespace) -> int:
    settings = load(chosen.config, os.environ)
    plain = {key: _plain(value) for key, value in settings.values().items()}
    if chosen.json:
        told = {key: {"value": value, "from": settings.origins[key]} for key, value in plain.items()}
        document({"schema": 1, "settings": told})
    else:
        say(_table(plain, settings))
    return Exit.DONE


def _table(plain: dict[str, Any], settings: Settings) -> str:
    lines = {key: f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()}
    width = max(map(len, lines.values()))
    return "\n".join(f"{line:{width}}  # {settings.origins[key]}" for key, line in lines.items())


def _plain(value: Any) -> Any:
    """Return a value as the file would have it; who and what stands before the host of an address stays secret."""
    if isinstance(value, timedelta):
        return write_duration(value)
    if type(value) is not bool and type(value) is not int and isinstance(value, int):
        return write_size(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, PolicyRule):
        return value.written()
    if isinstance(value, Mapping):
        return dict(value)
    return _PASSWORD.sub("***@", value) if isinstance(value, str) else value
