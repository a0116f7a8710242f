"""Plain words for when a schedule runs: `every night at 2`, `weekdays at 7:30`, `every 15 minutes`. Pure.

Each phrase becomes a cron expression; what is no phrase is left to `jobs.schedule.expression`, which reads cron.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from jobs.errors import InvalidRequestError
from jobs.schedule.expression import ALIASES, FIELD, CronExpression, parse

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_DAYS_OF_THE_WEEK: Mapping[str, str] = {
    **{day: str(number) for number, day in enumerate(_DAYS)},
    "weekday": "1-5",
    "weekend": "6,0",
}
_PERIODS: Mapping[str, Callable[[int], int]] = {
    "night": lambda hour: hour % 12 + 12 if 6 <= hour <= 11 else hour % 12 if hour == 12 else hour,
    "morning": lambda hour: hour,
    "afternoon": lambda hour: hour + 12 if hour < 8 else hour,
    "evening": lambda hour: hour + 12 if 4 <= hour < 12 else hour % 12 if hour == 12 else hour,
}
"""What an hour means at a time of the day: `every evening at 8` is 20:00."""
_LATE_PERIODS = {"night", "evening"}
_MORNING = 6
_NAMED_TIMES = {"midnight": (0, 0), "noon": (12, 0)}
_TIME = re.compile(r"(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))?\s*(?P<half>am|pm)?|(?P<name>midnight|noon)")
_EXAMPLES = (
    "`every night at 2`, `weekdays at 7:30`, `mondays and fridays at 18:00`, `monthly on the 1st at 4`, `every 6 hours`"
)


def read(text: str) -> CronExpression:
    """The expression that a phrase or cron itself says; raises `InvalidRequestError`."""
    words = " ".join(text.lower().replace(",", " ").split())
    if f"@{words}" in ALIASES:
        return parse(f"@{words}")
    for pattern, phrase in _PHRASES:
        if found := re.fullmatch(pattern, words):
            return parse(phrase(found))
    if not re.match("[a-z]{2}", words):
        return parse(text)
    raise InvalidRequestError(FIELD, f"{text[:80]!r} is no phrase that is known. Write {_EXAMPLES}, or cron.")


def _on_days(found: re.Match[str]) -> str:
    words = [_singular(word) for word in found["days"].split()]
    periods = [word for word in words if word in _PERIODS]
    days = [word for word in words if word in _DAYS_OF_THE_WEEK]
    if len(periods) > 1 or (days and "day" in words):
        raise InvalidRequestError(FIELD, f"{found[0][:80]!r} says two things at once: make a schedule of each.")
    minute, hour = _time(found["time"], next(iter(periods), None))
    if days and hour < _MORNING and _LATE_PERIODS & set(periods):
        raise InvalidRequestError(
            FIELD, f"{hour}:{minute:02} of a night is on the next day: name that one, as in `saturday at 1`."
        )
    return f"{minute} {hour} * * {_days_of_the_week(days)}"


def _without_a_time(found: re.Match[str]) -> str:
    raise InvalidRequestError(FIELD, f"say at what time, too: `{found[0]} at 2`.")


def _days_of_the_week(words: Sequence[str]) -> str:
    return ",".join(_DAYS_OF_THE_WEEK[word] for word in words) or "*"


def _singular(word: str) -> str:
    return {"daily": "day", "nightly": "night"}.get(word, word.removesuffix("s"))


def _on_a_date(found: re.Match[str]) -> str:
    minute, hour = _time(found["time"], None)
    return f"{minute} {hour} {'L' if found['date'] == 'last' else int(found['date'])} * *"


def _minutes(found: re.Match[str]) -> str:
    return "* * * * *" if (step := _step(found["count"], 60, "minutes")) == 1 else f"*/{step} * * * *"


def _hours(found: re.Match[str]) -> str:
    return "0 * * * *" if (step := _step(found["count"], 24, "hours")) == 1 else f"0 */{step} * * *"


def _step(count: str | None, whole: int, unit: str) -> int:
    step = int(count or 1)
    if step == 0 or whole % step:
        fitting = ", ".join(str(number) for number in range(1, whole) if whole % number == 0)
        raise InvalidRequestError(FIELD, f"every {step} {unit} does not come out even; use one of {fitting}.")
    return step


def _time(text: str, period: str | None) -> tuple[int, int]:
    """Minute and hour."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise InvalidRequestError(FIELD, f"{text[:20]!r} is no time of the day, such as 2, 14:30 or 2 pm.")
    if found["name"]:
        hour, minute = _NAMED_TIMES[found["name"]]
    else:
        hour, minute = int(found["hour"]), int(found["minute"] or 0)
        hour = _hour(hour, found["half"], period)
    if hour > 23 or minute > 59:
        raise InvalidRequestError(FIELD, f"{text[:20]!r} is no time of the day; it goes from 0:00 to 23:59.")
    return minute, hour


def _hour(hour: int, half: str | None, period: str | None) -> int:
    if half is None:
        return _PERIODS[period](hour) if period else hour
    if not 1 <= hour <= 12:
        raise InvalidRequestError(FIELD, f"{hour} {half} is no time of the day; before am and pm stand 1 to 12.")
    return hour % 12 + (12 if half == "pm" else 0)


_DAY = rf"(?:{'|'.join((*_DAYS_OF_THE_WEEK, *_PERIODS, 'day'))})s?|daily|nightly"
_WHICH = rf"(?:on )?(?:every |each )?(?P<days>(?:{_DAY})(?: (?:and (?:every )?)?(?:{_DAY}))*)"
_WHICH_DATE = (
    r"(?:(?:monthly|every month|each month) )?on (?:the )?(?P<date>last|\d{1,2})(?:st|nd|rd|th)?(?: day)?"
    r"(?: of (?:every|each|the) month)?"
)
_PHRASES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (_WHICH, _without_a_time),
    (rf"(?:at )?(?P<time>[^a-z]\S*(?: [ap]m)?|noon|midnight) {_WHICH}", _on_days),
    (rf"{_WHICH} (?:at )?(?P<time>.+)", _on_days),
    (_WHICH_DATE, _without_a_time),
    (rf"{_WHICH_DATE} at (?P<time>.+)", _on_a_date),
    (r"hourly|(?:every|each)(?: (?P<count>\d{1,3}))? hours?", _hours),
    (r"(?:every|each)(?: (?P<count>\d{1,3}))? (?:minutes?|min)", _minutes),
)  # fmt: skip
