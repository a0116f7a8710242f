"""A schedule's turns: when the next one comes, and what becomes of one that has come. Pure.

Jitter moves each run by a share of its own, which follows from schedule and time: every worker finds the same moment.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, pairwise

from jobs.errors import InvalidRequestError
from jobs.models import Job, ScheduledJob
from jobs.schedule.expression import parse
from jobs.schedule.occurrences import next_after, upcoming, zone_named
from jobs.view import JobStatus

LATE = timedelta(minutes=2)
"""From here on a run was missed: nothing ticked when it was due."""
MOST_COUNTED = 100
"""To count what was left out takes a part of a millisecond each, in which nothing else is done."""
COMPARED = 20
CLOCK_CHANGE = timedelta(hours=1)
"""What a clock that is set takes away between two runs."""
CLAIMED, STARTED, SKIPPED, MISSED, REFUSED = "claimed", "started", "skipped", "missed", "refused"


@dataclass(frozen=True, slots=True)
class Turn:
    """A planned time that has come, how many later ones have passed as well, the last, and when the next one comes."""

    planned_at: datetime
    left_out: int
    next_run: datetime
    last_passed: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schedule's times follow from, and the next one as it was planned by that."""

    cron_expression: str
    timezone: str
    jitter_s: int
    next_run: datetime | None

    @classmethod
    def of(cls, schedule: ScheduledJob) -> "Plan":
        """As the schedule stands."""
        return cls(schedule.cron_expression, schedule.timezone, schedule.jitter_s, schedule.next_run)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a turn: a state, why, and for a run that starts what its thread says of it."""

    state: str
    reason: str | None = None
    note: str | None = None


def first_run(schedule: ScheduledJob, after: datetime) -> datetime:
    """When the schedule runs next after `after`, jitter included; raises `InvalidRequestError`."""
    return coming(schedule, after, 1)[0]


def coming(schedule: ScheduledJob, after: datetime, count: int = 3) -> list[datetime]:
    """When the schedule runs after `after`, jitter included: the next `count` times; raises `InvalidRequestError`."""
    # A run whose plain time has passed may still lie ahead by its jitter.
    start = after - timedelta(seconds=schedule.jitter_s)
    moments = upcoming(parse(schedule.cron_expression), zone_named(schedule.timezone), start)
    ahead = (due for moment in moments if (due := _jittered(schedule, moment)) > after)
    return list(islice(ahead, count))


def turn(schedule: ScheduledJob, at: datetime) -> Turn:
    """The turn that has come by `at`, of a schedule whose `next_run` has; raises `InvalidRequestError`."""
    planned = schedule.next_run
    if planned is None or planned > at:
        raise ValueError(f"schedule {schedule.id} is not due")
    expression, zone = parse(schedule.cron_expression), zone_named(schedule.timezone)
    left_out, last_passed = 0, planned
    for moment in islice(upcoming(expression, zone, planned), MOST_COUNTED):
        if (due := _jittered(schedule, moment)) > at:
            return Turn(planned, left_out, due, last_passed)
        left_out, last_passed = left_out + 1, due
    return Turn(planned, left_out, _jittered(schedule, next_after(expression, zone, at)), last_passed)


def replanned(schedule: ScheduledJob, before: Plan, at: datetime) -> datetime | None:
    """When a schedule that was changed runs next: what is due stays due, and no time is taken twice.

    Raises `InvalidRequestError`.
    """
    planned, now_is = before.next_run, Plan.of(schedule)
    if not schedule.enabled:
        return None
    if planned is not None and (planned <= at or replace(now_is, next_run=planned) == before):
        return planned
    if planned is not None and replace(now_is, jitter_s=before.jitter_s, next_run=planned) == before:
        return max(at, _moved_by_jitter(schedule, before.jitter_s, planned))
    return first_run(schedule, at)


def _moved_by_jitter(schedule: ScheduledJob, old_jitter_s: int, planned: datetime) -> datetime:
    """The same run, by its new share: jitter is less than what lies between two runs, so its plain time is found."""
    earliest = planned - timedelta(seconds=old_jitter_s, microseconds=1)
    plain = next_after(parse(schedule.cron_expression), zone_named(schedule.timezone), earliest)
    return _jittered(schedule, plain)


def is_missed(schedule: ScheduledJob, planned_at: datetime, at: datetime) -> bool:
    """Whether a run comes too late, of a schedule that does not catch up."""
    return schedule.catch_up == "none" and at - planned_at > LATE


def verdict(schedule: ScheduledJob, turn: Turn, at: datetime, unfinished: Sequence[Job]) -> Verdict:
    """What becomes of the turn; `unfinished` are the schedule's jobs that have not ended, and what follows them."""
    planned = moment_of(turn.planned_at)
    if is_missed(schedule, turn.planned_at, at):
        return Verdict(MISSED, f"nothing was there to start it at {planned}, and it is not caught up{_others(turn)}")
    if blocking := _blocking(schedule, unfinished):
        return Verdict(SKIPPED, f"job #{blocking.id} of the schedule is {blocking.status}")
    return Verdict(
        STARTED,
        note=f"catches up on the run planned for {planned}{_others(turn)}" if at - turn.planned_at > LATE else None,
    )


def check_jitter(schedule: ScheduledJob, at: datetime) -> None:
    """Refuse a jitter that could have one run overtake the next; raises `InvalidRequestError`."""
    if not schedule.jitter_s:
        return
    moments = list(islice(upcoming(parse(schedule.cron_expression), zone_named(schedule.timezone), at), COMPARED))
    shortest = min(later - earlier for earlier, later in pairwise(moments))
    most = shortest - CLOCK_CHANGE if shortest > 2 * CLOCK_CHANGE else shortest
    if timedelta(seconds=schedule.jitter_s) >= most:
        raise InvalidRequestError("jitter", f"the runs are {shortest} apart; give less than {most}.")


def moment_of(when: datetime) -> str:
    """`25 Nov 02:00 UTC`."""
    return f"{when.day} {when:%b %H:%M} UTC"


def _blocking(schedule: ScheduledJob, unfinished: Sequence[Job]) -> Job | None:
    if schedule.overlap == "skip":
        return next(iter(unfinished), None)
    if schedule.overlap == "replace":
        return None
    # What runs is waited for, and what follows it belongs to it; a second one that waits would be one too many.
    return next((job for job in unfinished if job.status == JobStatus.PENDING and job.parent_id is None), None)


def _others(turn: Turn) -> str:
    if not turn.left_out:
        return ""
    count = f"more than {MOST_COUNTED - 1:,}" if turn.left_out >= MOST_COUNTED else f"{turn.left_out:,}"
    return f"; {count} later {'one has' if turn.left_out == 1 else 'ones have'} passed, too"


def _jittered(schedule: ScheduledJob, moment: datetime) -> datetime:
    if not schedule.jitter_s:
        return moment
    digest = hashlib.sha256(f"{schedule.id}:{moment.isoformat()}".encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return moment + timedelta(seconds=int(schedule.jitter_s * share))
