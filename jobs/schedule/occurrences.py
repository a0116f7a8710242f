"""When a cron expression comes in a time zone. Pure; all moments are aware and UTC.

Twice a year a wall clock in most zones is set. What an expression names then runs like this:

- An hour that is named (`30 2 * * *`, `0 */2 * * *`) runs once: at its first time where the clock shows it twice, at
  the end of the gap where the clock leaves it out. Several in one gap are one run.
- Where every hour is meant (`30 * * * *`), each real hour has its run: an hour that comes twice has two, one that is
  left out has none.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from jobs.errors import InvalidRequestError
from jobs.schedule.expression import CronExpression

SECOND = timedelta(seconds=1)


def zone_named(name: str) -> ZoneInfo:
    """The IANA zone; raises `InvalidRequestError` with a near name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = get_close_matches(name, sorted(available_timezones()), n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else "Use an IANA name such as Europe/Berlin."
        raise InvalidRequestError("timezone", f"there is no time zone {name[:80]!r}. {hint}") from error


def next_after(expression: CronExpression, zone: ZoneInfo, after: datetime) -> datetime:
    """The first moment after `after` at which the expression comes."""
    found: datetime | None = None
    for wall in expression.walls(_first_wall(expression, zone, after)):
        moments = [moment for moment in _moments(wall, zone, every_hour=expression.every_hour) if moment > after]
        found = min([*moments, *([found] if found else [])], default=None)
        # A later wall time comes no earlier than this one's first moment.
        if found is not None and _utc(wall, zone) >= found:
            return found
    raise AssertionError("a cron expression never ends")


def upcoming(expression: CronExpression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """All moments after `after`, in order, for ever."""
    while True:
        after = next_after(expression, zone, after)
        yield after


def next_runs(expression: CronExpression, zone: ZoneInfo, after: datetime, count: int = 3) -> Sequence[datetime]:
    """The next `count` moments."""
    return list(islice(upcoming(expression, zone, after), count))


def _first_wall(expression: CronExpression, zone: ZoneInfo, after: datetime) -> datetime:
    """The wall time to look on from: where the clock will soon be set back, what it will show again counts, too."""
    local = after.astimezone(zone)
    wall = local.replace(tzinfo=None)
    if not expression.every_hour or local.fold or _utc(wall, zone) == _utc(wall, zone, fold=1):
        return wall
    set_back = _transition(zone, _utc(wall, zone), _utc(wall, zone, fold=1))
    return set_back.astimezone(zone).replace(tzinfo=None) - SECOND


def _moments(wall: datetime, zone: ZoneInfo, *, every_hour: bool) -> Sequence[datetime]:
    """The moments at which a wall time's run is due: none, one or two."""
    first, second = _utc(wall, zone), _utc(wall, zone, fold=1)
    if first.astimezone(zone).replace(tzinfo=None) != wall:
        return () if every_hour else (_transition(zone, second, first),)
    return (first, second) if every_hour else (first,)


def _utc(wall: datetime, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _transition(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first second of the new offset, of a clock that is set once between the two moments."""
    new = after.astimezone(zone).utcoffset()
    seconds = range(int(before.timestamp()), int(after.timestamp()) + 1)
    first = bisect_left(seconds, True, key=lambda second: datetime.fromtimestamp(second, zone).utcoffset() == new)
    return datetime.fromtimestamp(seconds[first], UTC)
