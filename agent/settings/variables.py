"""The `HPC_AGENT_*` variables: `HPC_AGENT_MODE`, `HPC_AGENT_<SECTION>__<KEY>`, and nothing else under that name.

The keys of `[policy]` are an open set: `HPC_AGENT_POLICY__SCHEDULED_EVENT__SYSTEM_REBOOT` is
`scheduled-event/system-reboot`, and the model says whether there is such a kind.

pydantic-settings lets variables pass that map to no key, so that a typing error would silently do nothing: hence a
source of our own.
"""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from agent.errors import SettingsInvalid
from agent.settings.policy import policy_key
from agent.settings.tree import POLICY, PREFIX, Written, leaves

POLICY_PREFIX = f"{PREFIX}POLICY__"


def variable(key: str) -> str:
    """Return the variable that sets `key`: `s3.part_size` is `HPC_AGENT_S3__PART_SIZE`."""
    return PREFIX + key.upper().replace(".", "__").replace("/", "__").replace("-", "_")


class Variables(PydanticBaseSettingsSource):
    """The settings that `environ` gives, nested as the file nests them."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._given = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
        self._defaults = leaves(Written())

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of the key `field_name`, decoded: text stays text, all else is JSON."""
        del field
        text = self._given[variable(field_name)]
        return (text if _is_text(self._defaults[field_name]) else _decode(text)), field_name, False

    def __call__(self) -> dict[str, Any]:
        names = {variable(key): key for key in self._defaults if key != POLICY}
        tree: dict[str, Any] = {}
        for name in sorted(self._given):
            if name.startswith(POLICY_PREFIX):
                rules = tree.setdefault(POLICY, {})
                rules[policy_key(name.removeprefix(POLICY_PREFIX))] = _decode(self._given[name])
                continue
            if name not in names:
                raise _unknown(name, names)
            *sections, last = names[name].split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[last], _, _ = self.get_field_value(FieldInfo(), names[name])
        return tree


def _is_text(default: object) -> bool:
    return type(default) not in {bool, int, tuple}


def _decode(text: str) -> Any:
    """Text that is no JSON stays text: the model then says what it expected."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unknown(name: str, names: Mapping[str, str]) -> SettingsInvalid:
    near = get_close_matches(name, names, n=1)
    return SettingsInvalid(
        "setting",
        name,
        "there is no such setting",
        hint=f"did you mean {near[0]}?" if near else "`hpc-agent config` lists all settings",
    )
