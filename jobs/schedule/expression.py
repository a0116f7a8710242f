"""When a schedule runs, as cron writes it: five fields, checked one by one. Pure.

crontab(5): minute, hour, day of the month, month, day of the week; where both days are restricted, either matches.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from croniter import CroniterBadDateError, CroniterError, croniter

from jobs.errors import InvalidRequestError

FIELD = "cron_expression"
LONGEST = 100
HOURS_OF_A_DAY = 24
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PARTS = (
    ("minute", "0 to 59", 60),
    ("hour", "0 to 23", 24),
    ("day of the month", "1 to 31, or L for the last", 31),
    ("month", "1 to 12, or jan to dec", 12),
    ("day of the week", "0 to 7, or sun to sat", 7),
)
"""Each field's name, what it takes, and how many values it has, which is the greatest step."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBERS = {
    **{name: number for number, name in enumerate(_MONTHS, start=1)},
    **{name: number for number, name in enumerate(_DAYS)},
}
_WORDS = {*_NUMBERS, "l"}
_RANGE = re.compile(r"(?P<first>[a-z]+|[0-9]+)-(?P<last>[a-z]+|[0-9]+)(?:/[1-9][0-9]*)?")
# A year in the past, so that the days of every month and the leap years of half a century lie ahead.
_LONG_AGO = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock's time, of no zone


@dataclass(frozen=True, slots=True)
class CronExpression:
    """A checked expression in five fields.

    `every_hour`: its hour field allows all hours, so it counts real hours, and not the hours of a day.
    """

    text: str
    every_hour: bool

    def walls(self, after: datetime) -> Iterator[datetime]:
        """The wall clock's times (naive) that it names after `after` (naive), in order, for ever."""
        times = croniter(self.text, after, ret_type=datetime)
        while True:
            yield times.get_next()


@lru_cache(maxsize=4096)
def parse(text: str) -> CronExpression:
    """The expression; raises `InvalidRequestError` naming the part that is wrong, also for a day that never comes."""
    words = _fields(text)
    for word, part in zip(words, _PARTS, strict=True):
        _check(word, *part)
    expression = " ".join(map(_without_single_ranges, words))
    try:
        hours = croniter.expand(expression)[0][1]
        croniter(expression, _LONG_AGO).get_next()
    except CroniterBadDateError as error:
        raise InvalidRequestError(FIELD, f"{expression!r} never comes: no month has such a day.") from error
    except CroniterError as error:
        raise InvalidRequestError(FIELD, f"{expression!r} can't be read: {error}.") from error
    return CronExpression(expression, every_hour=hours == ["*"] or len(hours) == HOURS_OF_A_DAY)


def _fields(text: str) -> list[str]:
    plain = " ".join(text.lower().split())
    words = ALIASES.get(plain, plain).split(" ")
    if len(words) != len(_PARTS) or len(plain) > LONGEST:
        raise InvalidRequestError(
            FIELD,
            "write five fields (minute, hour, day of the month, month, day of the week), such as `30 2 * * *`, "
            "or a phrase such as `every night at 2`.",
        )
    return words


def _check(word: str, part: str, span: str, greatest_step: int) -> None:
    """One field, with all others open."""
    position = [name for name, _, _ in _PARTS].index(part)
    alone = " ".join(word if number == position else "*" for number in range(len(_PARTS)))
    refusal = InvalidRequestError(
        FIELD, f"{word!r} is no {part}: it takes {span}, as numbers, lists, ranges and steps."
    )
    if not set(re.findall("[a-z]+", word)) <= _WORDS:  # croniter would also draw numbers: H and R
        raise refusal
    try:
        croniter.expand(alone)
    except CroniterError as error:
        raise refusal from error
    if any(int(step) > greatest_step for step in re.findall("/([0-9]+)", word)):
        raise InvalidRequestError(FIELD, f"{word!r} is no {part}: its step is at most {greatest_step}.")


def _without_single_ranges(word: str) -> str:
    """The field with `21-21` as `21`: croniter takes a range of one value for the whole field."""
    return ",".join(_single(item) for item in word.split(","))


def _single(item: str) -> str:
    found = _RANGE.fullmatch(item)
    return found["first"] if found and _number(found["first"]) == _number(found["last"]) else item


def _number(written: str) -> int | None:
    return int(written) if written.isdecimal() else _NUMBERS.get(written)
