"""JSON from anywhere, and frozen dataclasses made of it: a dataclass's annotations are the schema of its object."""

import dataclasses
import json
import math
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

Made = TypeVar("Made")

MOST_BYTES = 64 * 2**20
_LARGEST = 2**63


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a file holds. Raises `ValueError` saying what it is instead, `OSError` as `open` does."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB")
    return parse_json_object(content, path.name)


def parse_json_object(text: str | bytes, name: str) -> dict[str, Any]:
    """The object that a text is; `name` says where it stands. Raises `ValueError` saying what it is instead."""

    def refuse(constant: str) -> None:
        raise ValueError(f"it holds {constant}")

    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise ValueError(f"{name} is not JSON: {reason}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object but {_kind(value)}")
    return value


def from_json(kind: type[Made], data: Any, where: str) -> Made:
    """The dataclass whose fields a JSON object holds, lists as tuples; fields that have a default may be absent.

    Understands bool, int, float, str, Literal, unions, tuples and dataclasses. Raises `ValueError`, naming the entry
    below `where`, for unknown and missing entries, values of another kind and numbers that are not finite; and what the
    dataclass itself raises.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be a JSON object, received {_kind(data)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise ValueError(f"{where} has no entry {name!r}; known ones: {', '.join(fields)}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in data and not optional:
            raise ValueError(f"{where} lacks {name!r}")
    return kind(**{name: _value(fields[name].type, value, f"{where}.{name}") for name, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    for part in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ():
        if dataclasses.is_dataclass(part) and isinstance(value, dict):
            return from_json(part, value, where)  # type: ignore[arg-type]
    item = get_args(hint)[0] if get_origin(hint) is tuple else None
    if dataclasses.is_dataclass(item) and isinstance(value, list):
        return tuple(from_json(item, entry, f"{where}[{k}]") for k, entry in enumerate(value))  # type: ignore[arg-type]
    if not _fits(hint, value):
        raise ValueError(f"{where} must be {_words(hint)}, received {_kind(value)}")
    return _converted(hint, value)


def _fits(hint: Any, value: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(part, value) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is tuple:
        if not isinstance(value, list):
            return False
        if parts[-1] is Ellipsis:
            return all(_fits(parts[0], item) for item in value)
        return len(value) == len(parts) and all(map(_fits, parts, value))
    if hint is None or hint is types.NoneType:
        return value is None
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value) and abs(value) < _LARGEST
    if hint is int:
        return isinstance(value, int) and abs(value) < _LARGEST
    return isinstance(value, hint) and (hint is not str or _is_text(value))


def _is_text(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _converted(hint: Any, value: Any) -> Any:
    """A value that fits the annotation, in its types: lists as tuples, whole numbers as floats where one is meant."""
    parts = get_args(hint)
    if isinstance(value, list):
        kinds = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(map(_converted, kinds, value))
    is_float = hint is float or (float in parts and int not in parts)
    return float(value) if is_float and isinstance(value, int) and not isinstance(value, bool) else value


def _words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        inside = [part for part in parts if part is not Ellipsis]
        return f"a list of {' and '.join(map(_words, inside))}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", types.NoneType: "null"}
    return names.get(hint, str(hint))


def _kind(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
