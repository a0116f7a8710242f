"""The commands for schedules: what there is, and when it runs next; made, paused, resumed and removed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from bot import wording
from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Flag, FlagType, Values, flags_of
from bot.commands.grammar import quoted
from bot.commands.lookup import may_see, not_there, repository_named
from jobs.access import Role
from jobs.clock import now
from jobs.command_words import REPOSITORY, Positional, WordType
from jobs.database.unit import reader
from jobs.errors import InvalidRequestError
from jobs.field_errors import field_name, reason
from jobs.models import ScheduledJob, ScheduledRun
from jobs.repositories import Asker as Requester
from jobs.retention import RULES, in_words
from jobs.schedule import schedules
from jobs.schedule.fields import NewSchedule, ScheduleChange
from jobs.schedule.request import BACKUP
from jobs.schedule.turns import coming
from jobs.types import job_type

LIST_LIMIT = 20
SCHEDULE = Positional("schedule", WordType.SCHEDULE, "NAME", help="the schedule's name or number")
_REPOSITORY = replace(REPOSITORY, help="the repository's name; of a kind that works on a host, the host's")
_WHEN = Positional("when", placeholder="WHEN", many=True, help="cron's five fields, or words: `every night at 2`")
_RULE = re.compile(r"keep[-_](hourly|daily|weekly|monthly|yearly|last)=(\d{1,6})")
_SAID_OTHERWISE = {
    *RULES, "repository", "host", "cron_expression", "parameters", "run_prune_after", "run_compact_after", "channel"
}  # fmt: skip
_ADD_FLAGS = (
    Flag("prune", FlagType.LIST, help="prune after the backup, and what to keep: `--prune keep-daily=7`"),
    Flag("compact", FlagType.SWITCH, help="compact after that"),
    Flag("set", FlagType.LIST, help="a parameter of its kind: `--set max_duration=3600`"),
    *flags_of(NewSchedule, without=_SAID_OTHERWISE),
)


async def _list(asker: Asker, values: Values) -> Answer:
    del values
    seen = await visible_schedules(asker)
    if not seen:
        asker.principal.require(Role.VIEW, None, asker.channel)
        return Answer("There is no schedule yet. Add one: `/backup schedule add REPO every night at 2`.")
    shown = seen[:LIST_LIMIT]
    last = await _last_runs([row.id for row in shown])
    lines = [_line(row, last.get(row.id)) for row in shown]
    planned = [(row, last[row.id].planned_at) for row in shown if row.id in last]
    times = _moments([*((row, row.next_run) for row in shown), *planned])
    return Answer("\n".join([*lines, *(["…"] if len(seen) > LIST_LIMIT else [])]), moments=times)


async def _add(asker: Asker, values: Values) -> Answer:
    place = await _place(asker, values)
    row = await schedules.add(_requester(asker), _new(place, values, asker.channel))
    runs = coming(row, now()) if row.enabled else []
    zone = "" if "timezone" in values else " (the setting default_timezone; `--timezone` says another)"
    then = ", ".join(_local(when, row) for when in runs) or "none: it is paused"
    of = place.get("repository") or row.host
    text = f"Schedule {row.name}: {row.kind} of {of}{_after(row)}, {_when(row)}{zone}. Next runs: {then}."
    return Answer(text, moments=_moments((row, when) for when in runs))


async def _pause(asker: Asker, values: Values) -> Answer:
    row = await _named(asker, values["schedule"])
    await schedules.change(_requester(asker), row.id, ScheduleChange(enabled=False))
    return Answer(f"Schedule {row.name} is paused; `/backup schedule resume {row.name}` has it run again.")


async def _resume(asker: Asker, values: Values) -> Answer:
    found = await _named(asker, values["schedule"])
    row = await schedules.change(_requester(asker), found.id, ScheduleChange(enabled=True))
    return Answer(f"Schedule {row.name} runs again: {_next(row)}.", moments=_moments([(row, row.next_run)]))


async def _remove(asker: Asker, values: Values) -> Answer:
    row = await _named(asker, values["schedule"])
    await schedules.remove(_requester(asker), row.id)
    return Answer(f"Schedule {row.name} is removed; its jobs stay.")


async def _place(asker: Asker, values: Values) -> Mapping[str, str]:
    """The repository that was named or, for a kind that works on a host, the host."""
    if job_type(values.get("kind", BACKUP)).needs_repository:
        return {"repository": (await repository_named(asker, values["repository"])).name}
    return {"host": values["repository"]}


def _new(place: Mapping[str, str], values: Values, channel: str | None) -> NewSchedule:
    words = list(values["when"])
    rules = [word for word in words if _RULE.fullmatch(word)]
    said = {flag.name: values[flag.name] for flag in _ADD_FLAGS[3:] if flag.name in values}
    prune = [*values.get("prune", ()), *rules]
    fields: dict[str, Any] = {
        **said,
        **retention(prune),
        **place,
        "cron_expression": " ".join(word for word in words if word not in rules),
        "parameters": dict(map(_parameter, values.get("set", ()))),
        "run_prune_after": bool(prune),
        "run_compact_after": bool(values.get("compact")),
        "channel": channel,
    }
    try:
        return NewSchedule.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidRequestError(field_name(first), reason(first)) from error


def retention(said: Sequence[str]) -> dict[str, int]:
    """`keep-daily=7,keep-weekly=4` as fields."""
    rules = [rule for text in said for rule in re.split(r"[,\s]+", text) if rule]
    found = [(rule, _RULE.fullmatch(rule)) for rule in rules]
    if wrong := [rule for rule, match in found if match is None]:
        raise InvalidRequestError("prune", f"{quoted(wrong[0])} is no rule; write such as `--prune keep-daily=7`.")
    return {f"keep_{match[1]}": int(match[2]) for _, match in found if match}


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequestError("set", f"write NAME=VALUE, not {quoted(text)}.")
    return name.replace("-", "_"), value


async def visible_schedules(asker: Asker) -> list[ScheduledJob]:
    """The schedules of repositories that the asker may see, by name."""
    rows = await ScheduledJob.all().using_db(reader()).order_by("name").select_related("repository")
    return [row for row in rows if may_see(asker, _repository(row))]


async def _named(asker: Asker, reference: str) -> ScheduledJob:
    """The schedule with this name or number, where the asker may see it."""
    rows = await ScheduledJob.all().using_db(reader()).order_by("name").select_related("repository")
    named = next((row for row in rows if reference.removeprefix("#") in {row.name, str(row.id)}), None)
    if named is not None and may_see(asker, _repository(named)):
        return named
    raise not_there(named, f"There is no schedule {quoted(reference)}. `/backup schedule list` shows those there are.")


async def _last_runs(ids: Sequence[int]) -> Mapping[int, ScheduledRun]:
    """The newest run of each schedule that has become something."""
    newest: dict[int, ScheduledRun] = {}
    for number in ids:
        if found := await ScheduledRun.filter(scheduled_job_id=number).using_db(reader()).order_by("-id").first():
            newest[number] = found
    return newest


def _line(row: ScheduledJob, last: ScheduledRun | None) -> str:
    of = _repository(row) or row.host
    return f"{row.name}: {row.kind} of {of}{_after(row)}, {_when(row)}, {_next(row)}{_became(last, row)}"


def _after(row: ScheduledJob) -> str:
    """What follows a backup, and what a prune keeps."""
    pruned = f", then prune keeping {in_words(row.retention)}" if row.run_prune_after else ""
    return pruned + (", then compact" if row.run_compact_after else "")


def _became(run: ScheduledRun | None, row: ScheduledJob) -> str:
    if run is None:
        return ""
    job = f" #{run.job_id}" if run.job_id else ""
    why = f" ({run.reason})" if run.reason else ""
    return f"; last {_local(run.planned_at, row)}: {run.state}{job}{why}"


def _when(row: ScheduledJob) -> str:
    return f"`{row.cron_expression}` {row.timezone}"


def _next(row: ScheduledJob) -> str:
    return f"next {_local(row.next_run, row)}" if row.next_run else "paused"


def _local(when: datetime, row: ScheduledJob) -> str:
    return wording.local(when, ZoneInfo(row.timezone))


def _moments(times: Iterable[tuple[ScheduledJob, datetime | None]]) -> Mapping[str, datetime]:
    return {_local(when, row): when for row, when in times if when}


def _repository(row: ScheduledJob) -> str | None:
    return row.repository.name if row.repository else None


def _requester(asker: Asker) -> Requester:
    return Requester(asker.principal, asker.origin, asker.channel)


COMMANDS = (
    Command("schedule list", "shows the schedules", _list),
    Command("schedule add", "has a job run by itself", _add, Role.OPERATE, (_REPOSITORY, _WHEN), _ADD_FLAGS),
    Command("schedule pause", "has a schedule rest", _pause, Role.OPERATE, (SCHEDULE,)),
    Command("schedule resume", "has it run again", _resume, Role.OPERATE, (SCHEDULE,)),
    Command("schedule remove", "forgets a schedule", _remove, Role.OPERATE, (SCHEDULE,)),
)
