"""Sizes as borg writes them for people, such as `9.01 MB` and `-527 B`."""

import re

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
SIZE = rf"[+-]?\d+(?:\.\d+)? (?:{'|'.join(_UNITS)})"
"""A pattern for one of them."""


def bytes_of(text: str) -> int:
    """The size in bytes, as far as it was written out, without its sign; raises `ValueError`."""
    if not re.fullmatch(SIZE, text):
        raise ValueError(f"{text!r} is no size as borg writes it.")
    number, unit = text.lstrip("+-").split(" ")
    return round(float(number) * float(1000 ** _UNITS.index(unit)))
