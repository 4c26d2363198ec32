"""Whether the values of a config are arguments of what they are meant for, by its type hints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from uda_hydra.errors import UserError, nearest
from uda_hydra.files import is_number

MAPPINGS = (dict, Mapping)
SEQUENCES = (list, tuple, Sequence)
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
"""Types of values, for people."""


def check_signature(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    key: str,
    *,
    given: Mapping[str, Any] = {},
    positional: int = 0,
) -> None:
    """Raise UserError unless ``values`` are arguments of ``target``, complete and of its types."""
    parameters = dict([*inspect.signature(target).parameters.items()][positional:])
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [name for name in parameters if name not in given]
    for name in values:
        if name not in known and not open_ended:
            raise UserError(f"there is no key {key}.{name}{nearest(name, known)}")
    for name in known:
        parameter = parameters[name]
        needed = (
            parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        )
        if needed and name not in values:
            raise UserError(f"{key}.{name} is missing; {target.__qualname__} needs it")
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            raise UserError(
                f"{key}.{name} must be {_wanted(f'{key}.{name}', hints[name])}, "
                f"got {'null' if value is None else value!r}"
            )


def _wanted(key: str, hint: Any) -> str:
    """What a value of a type is, and how a container is written on the command line."""
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        return " or ".join(_wanted(key, option) for option in get_args(hint))
    if origin is NoneType:
        return "null"
    if origin in MAPPINGS:
        return f'a mapping, in quotes for the shell ("{key}={{name: value, ...}}")'
    if origin in SEQUENCES:
        item = " or ".join(WORDS.get(kind, "value") for kind in _items(hint)) or "value"
        return f'a list, in quotes for the shell ("{key}=[<{item}>, ...]")'
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _items(hint: Any) -> list[Any]:
    """The types of what a sequence of a type holds."""
    return [kind for kind in dict.fromkeys(get_args(hint)) if kind is not Ellipsis]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML is of a type; what a mapping holds is left to who receives it."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin in MAPPINGS:
        return isinstance(value, Mapping)
    if origin in SEQUENCES:
        kinds = _items(hint) or [Any]
        return isinstance(value, list | tuple) and all(
            any(_fits(item, kind) for kind in kinds) for item in value
        )
    if hint is float:
        return is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, NoneType):
        return isinstance(value, hint)
    return value is not None or hint is Any
