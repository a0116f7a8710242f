"""JSON pointers (RFC 6901): which value of a document is meant. Pure."""

import re
from typing import Any

POINTER = re.compile(r"(/([^~/]|~0|~1)*)*")


class MissingValueError(Exception):
    """The document has nothing at the pointer."""


def is_pointer(text: str) -> bool:
    """Whether `text` is a pointer: empty, or each part behind a slash."""
    return POINTER.fullmatch(text) is not None


def value_at(document: Any, pointer: str) -> Any:
    """The value that `pointer` leads to in a parsed JSON document; raises `MissingValueError`."""
    value = document
    for part in pointer.split("/")[1:]:
        value = _child(value, part.replace("~1", "/").replace("~0", "~"))
    return value


def _child(value: Any, name: str) -> Any:
    if isinstance(value, dict) and name in value:
        return value[name]
    if isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", name) and int(name) < len(value):
        return value[int(name)]
    raise MissingValueError(name)
