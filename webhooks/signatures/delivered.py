"""What a verified delivery says of itself, and what every scheme has alike. Pure."""

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256


class SignatureError(Exception):
    """The request was not signed as the hook's scheme wants it; the sentence says what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A request whose signature is right. `id` is the same on every try (None: the sender gives none)."""

    id: str | None
    event: str | None = None
    is_ping: bool = False
    """Whether the sender only tries the hook out."""


Verify = Callable[[Sequence[str], Mapping[str, str], bytes, datetime], Delivered]
"""Secrets, headers (names in any case), the raw body, the time: a delivery, or `SignatureError`."""


def header(headers: Mapping[str, str], name: str) -> str:
    """The header's value; raises `SignatureError` where it is missing or empty."""
    value = headers.get(name, "")
    if not value:
        raise SignatureError(f"The header {name} is missing.")
    return value


def any_equal(given: Iterable[str], expected: Iterable[str]) -> bool:
    """Whether one text equals another, in a time that says nothing of either: all are compared, by their digests."""
    pairs = [(_digest(text), _digest(other)) for text in given for other in expected]
    return sum(hmac.compare_digest(text, other) for text, other in pairs) > 0


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogateescape")).digest()
