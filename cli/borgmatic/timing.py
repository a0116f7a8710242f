"""When borgmatic ran: from its line in a crontab, or from its systemd timer. Pure.

crontab(5); systemd.time(7), "Calendar Events"; systemd.timer(5).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cli.borgmatic.crontab import FITS_NOT, lines_of
from jobs.errors import InvalidRequestError
from jobs.schedule.expression import parse

SHORTHANDS = {
    "minutely": "* * * * *",
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * mon",
    "monthly": "0 0 1 * *",
    "quarterly": "0 0 1 1,4,7,10 *",
    "semiannually": "0 0 1 1,7 *",
    "yearly": "0 0 1 1 *",
    "annually": "0 0 1 1 *",
}
_UNITS = {
    name: seconds
    for names, seconds in (
        ("usec us µs", 1e-6),
        ("msec ms", 1e-3),
        ("seconds second sec s", 1),
        ("minutes minute min m", 60),
        ("hours hour hr h", 3600),
        ("days day d", 86_400),
        ("weeks week w", 7 * 86_400),
        ("months month M", 30.44 * 86_400),
        ("years year y", 365.25 * 86_400),
    )
    for name in names.split()
} | {"": 1}
"""systemd.time(7), "Parsing Time Spans"; a bare number is seconds."""
_CALENDAR = re.compile(
    r"(?:(?P<days>[A-Za-z][A-Za-z.,]*)\s+)?"
    r"(?:(?:\*-)?(?P<month>[\d*,./]+)-(?P<day>[\d*,./]+|[\d*]+)\s+|\*-(?P<month_last>[\d*,./]+)~0?1\s+)?"
    r"(?P<hour>[\d*,./]+):(?P<minute>[\d*,./]+)(?::0{1,2})?"
    r"(?:\s+(?P<zone>[A-Za-z][A-Za-z0-9_+/-]*))?"
)


@dataclass(frozen=True, slots=True)
class Timing:
    """A cron expression, and what else a timer says; `jitter_s` is seconds.

    `unread` is what can't be said in cron, `others` are further lines that have borgmatic run. `actions` are those that
    the line names; none means borgmatic's usual ones.
    """

    cron: str | None = None
    timezone: str | None = None
    jitter_s: int = 0
    catch_up: str = "none"
    unread: str | None = None
    others: tuple[str, ...] = ()
    actions: frozenset[str] = frozenset()

    def runs(self, action: str) -> bool:
        """Whether borgmatic did that at this time."""
        return not self.actions or action in self.actions


def read_timing(text: str, file: Path) -> Timing | None:
    """What a crontab or a timer says of borgmatic with this configuration; None where it says nothing of borgmatic."""
    return _timer(text) if re.search(r"^\s*\[Timer\]", text, re.MULTILINE) else _crontab(text, file)


def _crontab(text: str, file: Path) -> Timing | None:
    """Of several lines the one that makes backups by this file; `CRON_TZ` is cronie's, crontab(5)."""
    lines = lines_of(text)
    fitting = [line for line in lines if line.fit(file) != FITS_NOT]
    making = [line for line in fitting if line.makes_backups]
    if not making:
        return Timing(unread=f"no line of the crontab makes backups by {file}") if lines else None
    chosen = min(making, key=lambda line: line.fit(file))
    zone = re.search(r"^\s*CRON_TZ\s*=\s*[\"']?([\w/+-]+)", text, re.MULTILINE)
    others = tuple(str(line) for line in fitting if line is not chosen)
    timing = Timing(chosen.when, zone[1] if zone else None, others=others, actions=chosen.actions)
    return _checked(timing, chosen.when)


def _timer(text: str) -> Timing:
    said = re.findall(r"^\s*([A-Za-z]+)\s*=\s*(.+?)\s*$", text, re.MULTILINE)
    calendars = [value for name, value in said if name == "OnCalendar"]
    return _of_calendars(calendars, dict(said)) if calendars else Timing(unread="the timer has no OnCalendar=")


def _of_calendars(calendars: Sequence[str], options: Mapping[str, str]) -> Timing:
    first, *more = calendars
    others = tuple(f"OnCalendar={other}" for other in more)
    found = _calendar(first)
    if found is None:
        return Timing(unread=f"OnCalendar={first} can't be said in cron", others=others)
    cron, zone = found
    persistent = options.get("Persistent", "").lower() in {"true", "yes", "on", "1"}
    jitter_s = _seconds(options.get("RandomizedDelaySec", "0"))
    timing = Timing(cron, zone, jitter_s, "one" if persistent else "none", others=others)
    return _checked(timing, f"OnCalendar={first}")


def _checked(timing: Timing, written: str) -> Timing:
    try:
        parse(timing.cron or "")
    except InvalidRequestError as error:
        return replace(timing, cron=None, unread=f"{written} can't be read: {error.reason}")
    return timing


def _calendar(text: str) -> tuple[str, str | None] | None:
    """Cron's five fields and the zone; None where cron can't say it: it takes either of two restricted days."""
    if text.lower() in SHORTHANDS:
        return SHORTHANDS[text.lower()], None
    found = _CALENDAR.fullmatch(text)
    if found is None:
        return None
    day = "L" if found["month_last"] else _field(found["day"] or "*", first=1)
    month = _field(found["month"] or found["month_last"] or "*", first=1)
    weekdays = (found["days"] or "*").replace("..", "-").lower()
    if weekdays != "*" and day != "*":
        return None
    minute, hour = _field(found["minute"]), _field(found["hour"])
    return f"{minute} {hour} {day} {month} {weekdays}", found["zone"]


def _field(text: str, first: int = 0) -> str:
    """`00/6` as `*/6`, `08..10` as `8-10`, `05` as `5`."""
    plain = re.sub(r"0*(\d+)", r"\1", text).replace("..", "-")
    return re.sub(rf"\b{first}/", "*/", plain) if "/" in plain else plain


def _seconds(text: str) -> int:
    """`3h`, `1h 30min`, `1.5h`, `900`; 0 for what can't be read, as systemd takes it."""
    pieces = re.findall(r"([0-9.]+)\s*([a-zA-Zµ]*)", text)
    try:
        return round(sum(float(number) * _UNITS[unit] for number, unit in pieces))
    except (KeyError, ValueError):
        return 0
