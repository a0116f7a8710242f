"""Figures and names as people read them: sizes, counts, durations, moments, long paths, a bar. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from itertools import pairwise

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_DURATION_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
# Control characters, lone surrogates (file names that are not UTF-8) and the marks that reverse reading direction:
# the last make a name look like another (Unicode Technical Report 36, section 2.5).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ELLIPSIS = "…"


def size(bytes_: float) -> str:
    """`31.2 GB`: decimal units (10^3), as borg prints them; one decimal from kB on."""
    value = float(bytes_)
    for unit in _SIZE_UNITS[:-1]:
        if value < (999.5 if unit == "B" else 999.95):
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} {_SIZE_UNITS[-1]}"


def count(number: int, noun: str) -> str:
    """`1,204 files`, `1 file`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def with_article(noun: str) -> str:
    """`a backup`, `an unlock`."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def duration(seconds: float) -> str:
    """`4 min 12 s`: the two largest units; less than a second is `under 1 s`."""
    rest = int(seconds)
    for (large, large_s), (small, small_s) in pairwise(_DURATION_UNITS):
        if rest >= large_s:
            fraction = rest % large_s // small_s
            return f"{rest // large_s} {large}" + (f" {fraction} {small}" if fraction else "")
    return f"{rest} s" if rest else "under 1 s"


def rough_duration(seconds: float) -> str:
    """`about 2 min`: as exact as a forecast can be, so that it does not flicker between two edits."""
    step_s = next((step for below, step in ((60, 10), (3_600, 60), (36_000, 600)) if seconds < below), 3_600)
    return f"about {duration(max(step_s, round(seconds / step_s) * step_s))}"


def moment(when: datetime) -> str:
    """`23 Nov 14:03 UTC` of an aware time."""
    utc = when.astimezone(UTC)
    return f"{utc.day} {utc:%b %H:%M} UTC"


def soon(when: datetime) -> str:
    """`23 Nov 14:03:17 UTC` of an aware time for which somebody may wait."""
    utc = when.astimezone(UTC)
    return f"{utc.day} {utc:%b %H:%M:%S} UTC"


def local(when: datetime, zone: tzinfo | None) -> str:
    """`Thu 26 Nov 2026 02:00 CET` of an aware time, by a zone's clock; None: by this machine's."""
    there = when.astimezone(zone)
    return f"{there:%a} {there.day} {there:%b %Y %H:%M %Z}"


def with_moments(text: str, moments: Mapping[str, datetime], shown: Callable[[str, datetime], str]) -> str:
    """The text with each moment that is written in it as `shown` has it, from how it is written and when it is."""
    if not moments:
        return text
    # `+03` begins `+0330`.
    longest_first = sorted(moments, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda found: shown(found[0], moments[found[0]]), text)


def one_line(text: str) -> str:
    """The text on one line, white space as single spaces, nothing in it that moves a cursor or turns the writing."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def log_line(text: str) -> str:
    """A line of a log as it can be shown: tabs as spaces, no colours, no control characters."""
    return _UNPRINTABLE.sub(
        "\N{REPLACEMENT CHARACTER}", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.rstrip()).expandtabs(4)
    )


def shorten(path: str, limit: int) -> str:
    """At most `limit` characters, cut in the middle: `/home/anna/…/IMG_2041.CR3`.

    The end, where a path has its file's name, keeps twice as much; both cuts are at a slash where there is one.
    """
    if len(path) <= limit:
        return path
    head_length = (limit - 1) // 3
    head, tail = path[:head_length], path[len(path) - (limit - 1 - head_length) :]
    whole_head, whole_tail = head[: head.rfind("/") + 1], tail[max(tail.find("/"), 0) :]
    return (whole_head or head) + _ELLIPSIS + whole_tail


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, cut at the end."""
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


def bar(fraction: float, width: int = 20) -> str:
    """`████████░░░░` for a fraction from 0 to 1; full only at 1."""
    filled = int(min(max(fraction, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)
