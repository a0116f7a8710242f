"""What a hook makes of a delivery: whether it is meant, and which parameters its payload gives. Pure."""

from collections.abc import Mapping
from typing import Any

from jobs.errors import InvalidRequestError
from jobs.json_pointer import MissingValueError, value_at

EVENT = "event"


def matches(when: Mapping[str, Any], event: str | None, body: Mapping[str, Any]) -> bool:
    """Whether every condition holds. `event` is the scheme's event header; any other key is a top-level field of the
    body, or a JSON pointer into it. A value is equal, a list any of its values, a `*` at a text's end any ending.
    """
    return all(_holds(wanted, _found(key, event, body)) for key, wanted in when.items())


def mapped_parameters(mapping: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the payload gives, by parameter; raises `InvalidRequestError` where one is missing."""
    parameters = {}
    for name, pointer in mapping.items():
        try:
            parameters[name] = value_at(body, pointer)
        except MissingValueError:
            raise InvalidRequestError(name, f"the payload has nothing at {pointer}, which this hook takes.") from None
    return parameters


def _found(key: str, event: str | None, body: Mapping[str, Any]) -> Any:
    if key == EVENT:
        return event
    try:
        return value_at(body, key) if key.startswith("/") else body.get(key)
    except MissingValueError:
        return None


def _holds(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, list):
        return any(_holds(each, found) for each in wanted)
    if isinstance(wanted, str) and wanted.endswith("*"):
        return isinstance(found, str) and found.startswith(wanted.removesuffix("*"))
    return bool(wanted == found) and isinstance(wanted, bool) == isinstance(found, bool)
