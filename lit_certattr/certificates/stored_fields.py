"""The bytes of stored results: named fields of attrs classes, as safetensors with a header; they may be anybody's."""

import json
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

import attrs
from torch import Tensor

from lit_certattr.files.tensors import bytes_of, tensors_of

_HEADER = "lit_certattr"
_Kind = TypeVar("_Kind", bound=attrs.AttrsInstance)


def fields_as_bytes(entries: Mapping[str, tuple[str, Mapping[str, Any]]]) -> bytes:
    """The content of a file; equal entries give equal bytes.

    Args:
        entries: Name of the class and values of its fields, by the name of the result, which contains no ``/``.
    """
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {}
    for name, (kind, values) in entries.items():
        fields: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value
            else:
                fields[key] = value
        header[name] = {"type": kind, "fields": fields}
    return bytes_of(tensors, {_HEADER: json.dumps(header, sort_keys=True)})


def fields_of(content: bytes) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Tensor]]]:
    """What :func:`fields_as_bytes` has packed: names, names of classes, plain values, tensors.

    Args:
        content: The bytes of a file.

    Raises:
        TypeError: If the name of a class is none. Damage raises one of :data:`~lit_certattr.files.untrusted.DAMAGE`.
    """
    words, tensors = tensors_of(content)
    for name, entry in json.loads(words[_HEADER]).items():
        if not isinstance(entry["type"], str):
            raise TypeError("the type of a result must be a name")
        own = {key: value for key, value in tensors.items() if key.startswith(f"{name}/")}
        yield name, entry["type"], entry["fields"], {key.removeprefix(f"{name}/"): own[key] for key in own}


def from_fields(kind: type[_Kind], plain: dict[str, Any], tensors: dict[str, Tensor]) -> _Kind:
    """An object from the fields of a file.

    Args:
        kind: An attrs class.
        plain: Plain values by name.
        tensors: Tensors by name.

    Raises:
        TypeError: If a field has another type than declared.
        ValueError: If the class refuses a value.
    """
    # Files from before a field with a default was there lack it.
    plain_default = int | float | str | tuple | None
    defaults = {field.name: field.default for field in attrs.fields(kind) if isinstance(field.default, plain_default)}
    fields: dict[str, Any] = defaults | plain | tensors
    for field in attrs.fields(kind):
        expected, values = get_origin(field.type) or field.type, [fields[field.name]]
        if expected is UnionType:
            expected = field.type
        if expected is tuple:
            expected, values = get_args(field.type)[0], list(values[0])
        accepted = (int, float) if expected is float else expected
        if not all(isinstance(value, accepted) and not isinstance(value, bool) for value in values):
            raise TypeError(f"{field.name} must be {getattr(expected, '__name__', expected)}")
    return kind(**fields)
