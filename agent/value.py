"""Values: data classes that nothing changes.

It is mypy that sees to it. Having Python see to it, too, takes twice as long for each that is made, and made half of
what it took to start a command that has to define 64 of them (58 ms, 36 like this).
"""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a data class: its fields are given by name, and can be compared, hashed and shown."""
    made = dataclass(slots=True, kw_only=True, repr=False)(cls)
    # Functions that do for all: dataclass would compile each class its own.
    made.__repr__ = _repr  # type: ignore[method-assign]
    made.__hash__ = _hash  # type: ignore[method-assign]
    return made


def _repr(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({shown})"


def _hash(self: Any) -> int:
    return hash(tuple(getattr(self, each.name) for each in fields(self)))
