"""Who wants to be told of an event, and when: the switches, the quiet hours, the hour of the digest. Pure."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from jobs.events import EVENT_NAMES, EventData, EventName
from jobs.view import JobView

SCHEDULE_FAILURE, BACKUP_OVERDUE, HOST_SILENT = "schedule_failure", "backup_overdue", "host_silent"
MONITOR = "ping"
"""The service of a channel that pings a monitor, which wants to hear of every backup."""
MONITORS_WANT = frozenset({"backup_start", "backup_success", "backup_failure"})
_ENDS = {
    "job.started": "start",
    "job.completed": "success",
    "job.failed": "failure",
    "job.cancelled": "cancelled",
}
_OTHERS = {"schedule.missed": SCHEDULE_FAILURE, "backup.overdue": BACKUP_OVERDUE, "host.silent": HOST_SILENT}
_WORDS = {"package_install": "package"}
"""Kinds that are called otherwise in switches."""


def switches_of(name: EventName, data: EventData) -> frozenset[str]:
    """The switches that each have this event told, such as `backup_failure` and `schedule_failure`."""
    if not isinstance(data, JobView):
        return frozenset({_OTHERS[name]})
    scheduled = name == "job.failed" and data.scheduled_job_id is not None
    return frozenset({_switch(data.kind, _ENDS[name]), *({SCHEDULE_FAILURE} if scheduled else ())})


def known_switches(kinds: Collection[str]) -> frozenset[str]:
    """Every word that a channel may name as what it wants: switches, and events by their names."""
    of_jobs = {_switch(kind, end) for kind in kinds for end in _ENDS.values()}
    return frozenset({*of_jobs, *_OTHERS.values(), *EVENT_NAMES})


def told_of(service: str, events: Collection[str] | None) -> str:
    """What a channel is told of, in words: its own switches, or what holds where it names none."""
    if events is not None:
        return ", ".join(events) or "nothing"
    return "every backup" if service == MONITOR else "what the settings say"


def is_wanted(name: EventName, switches: Collection[str], wanted: Collection[str]) -> bool:
    """Whether one of the switches, or the event itself, is among what is wanted."""
    return name in wanted or any(switch in wanted for switch in switches)


def moment_of(at: datetime, text: str, zone: str) -> datetime:
    """The next `HH:MM` of the clock in `zone` after `at`, in UTC; in a gap of the clock, as much later."""
    local = at.astimezone(ZoneInfo(zone))
    today = datetime.combine(local.date(), time.fromisoformat(text), local.tzinfo)
    return next(moment for moment in _days_of(today) if moment > at)


def end_of_quiet(at: datetime, quiet_from: str | None, quiet_until: str | None, zone: str) -> datetime | None:
    """When the quiet hours end that `at` lies in, which may go over midnight; None outside of them, or without any."""
    if quiet_from is None or quiet_until is None:
        return None
    clock = at.astimezone(ZoneInfo(zone)).time()
    start, end = time.fromisoformat(quiet_from), time.fromisoformat(quiet_until)
    within = start <= clock < end if start < end else clock >= start or clock < end
    return moment_of(at, quiet_until, zone) if within else None


def _switch(kind: str, end: str) -> str:
    return f"{_WORDS.get(kind, kind)}_{end}"


def _days_of(moment: datetime) -> Iterator[datetime]:
    for days in range(3):
        yield (moment + timedelta(days=days)).astimezone(UTC)
