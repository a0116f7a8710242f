"""Schedules over HTTP: made, shown with their next runs, changed, removed; and what became of each run."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.access import Role
from jobs.clock import now
from jobs.database.unit import reader
from jobs.errors import NotFoundError
from jobs.models import Repository, ScheduledJob, ScheduledRun
from jobs.repositories import Asker
from jobs.retention import RULES
from jobs.schedule.fields import NewSchedule, ScheduleChange
from jobs.schedule.schedules import add, change, remove
from jobs.schedule.turns import coming
from webhooks.api.made import made
from webhooks.page import Page, PageQuery, page
from webhooks.route import Answer, Call, Plain, Route

COLLECTION, ONE = "/api/scheduled-jobs", "/api/scheduled-jobs/{id}"
DERIVED = frozenset({"repository", "jitter", "next_runs", *RULES})


class ScheduleAnswer(BaseModel):
    """A schedule. Times are UTC, `jitter` is seconds; `next_run` is None while it is paused."""

    id: int
    name: str
    kind: str
    repository: str | None
    host: str | None
    cron_expression: str
    timezone: str
    enabled: bool
    catch_up: str
    overlap: str
    jitter: int
    priority: str
    channel: str | None
    template: str | None
    parameters: dict[str, Any]
    archive_name_template: str | None
    run_prune_after: bool
    run_compact_after: bool
    keep_hourly: int | None
    keep_daily: int | None
    keep_weekly: int | None
    keep_monthly: int | None
    keep_yearly: int | None
    keep_last: int | None
    last_run: datetime | None
    next_run: datetime | None
    next_runs: list[datetime] | None = Field(default=None, description="The next three, of one schedule alone.")
    created_by: str
    created_at: datetime


class RunAnswer(BaseModel):
    """One planned time, and what became of it; `left_out` counts the later times that had passed as well."""

    id: int
    planned_at: datetime
    state: Literal["claimed", "started", "skipped", "missed", "refused"]
    job_id: int | None
    left_out: int
    reason: str | None


async def list_schedules(call: Call[None, PageQuery]) -> Page[ScheduleAnswer]:
    """The schedules that the principal may see."""

    async def present(rows: Sequence[ScheduledJob]) -> list[ScheduleAnswer]:
        names = await _names(rows)
        return [_answer(row, names) for row in rows]

    names = call.principal.limited_to(Role.VIEW)
    rows = ScheduledJob.all() if names is None else ScheduledJob.filter(repository__name__in=list(names))
    return Page[ScheduleAnswer](**await page(rows, call.query, present))


async def show_schedule(call: Plain) -> ScheduleAnswer:
    """One schedule."""
    return await _whole(await _visible(call))


async def add_schedule(call: Call[NewSchedule, None]) -> Answer:
    """Add a schedule."""
    row = await add(_asker(call), call.body)
    return made(call, f"{COLLECTION}/{row.id}", await _whole(row))


async def change_schedule(call: Call[ScheduleChange, None]) -> ScheduleAnswer:
    """Change the fields given."""
    await _visible(call)
    return await _whole(await change(_asker(call), call.id, call.body))


async def remove_schedule(call: Plain) -> None:
    """Forget a schedule; its jobs stay."""
    await _visible(call)
    await remove(_asker(call), call.id)


async def list_runs(call: Call[None, PageQuery]) -> Page[RunAnswer]:
    """What became of a schedule's planned times."""

    async def present(rows: Sequence[ScheduledRun]) -> list[RunAnswer]:
        return [RunAnswer.model_validate(row, from_attributes=True) for row in rows]

    schedule = await _visible(call)
    rows = ScheduledRun.filter(scheduled_job_id=schedule.id)
    return Page[RunAnswer](**await page(rows, call.query, present))


async def _visible(call: Call[Any, Any]) -> ScheduledJob:
    row = await ScheduledJob.filter(id=call.id).using_db(reader()).first()
    if row is None:
        raise NotFoundError(f"There is no schedule {call.id}.")
    call.principal.require(Role.VIEW, (await _names([row])).get(row.repository_id))
    return row


async def _whole(row: ScheduledJob) -> ScheduleAnswer:
    next_runs = coming(row, now()) if row.enabled else []
    return _answer(row, await _names([row])).model_copy(update={"next_runs": next_runs})


async def _names(rows: Sequence[ScheduledJob]) -> Mapping[int | None, str]:
    ids = [row.repository_id for row in rows if row.repository_id is not None]
    found = await Repository.filter(id__in=ids).using_db(reader()).only("id", "name") if ids else []
    return {repository.id: repository.name for repository in found}


def _answer(row: ScheduledJob, names: Mapping[int | None, str]) -> ScheduleAnswer:
    columns = {name: getattr(row, name) for name in ScheduleAnswer.model_fields.keys() - DERIVED}
    kept = {name: row.retention.get(name) for name in RULES}
    return ScheduleAnswer(**columns, **kept, repository=names.get(row.repository_id), jitter=row.jitter_s)


def _asker(call: Call[Any, Any]) -> Asker:
    return Asker(call.principal, call.origin)


ROUTES = (
    Route(
        "GET", COLLECTION, Role.VIEW, list_schedules, "The schedules, newest first",
        query=PageQuery, answer=Page[ScheduleAnswer], by_repository=True,
    ),
    Route(
        "POST", COLLECTION, Role.OPERATE, add_schedule, "Adds a schedule",
        body=NewSchedule, answer=ScheduleAnswer, status=HTTPStatus.CREATED, by_repository=True,
    ),
    Route(
        "GET", ONE, Role.VIEW, show_schedule, "One schedule, with its next three runs",
        answer=ScheduleAnswer, by_repository=True,
    ),
    Route(
        "PUT", ONE, Role.OPERATE, change_schedule, "Changes the fields given",
        body=ScheduleChange, answer=ScheduleAnswer, by_repository=True,
    ),
    Route(
        "DELETE", ONE, Role.OPERATE, remove_schedule, "Forgets a schedule; its jobs stay",
        status=HTTPStatus.NO_CONTENT, by_repository=True,
    ),
    Route(
        "GET", f"{ONE}/runs", Role.VIEW, list_runs, "A schedule's planned times and what became of them, newest first",
        query=PageQuery, answer=Page[RunAnswer], by_repository=True,
    ),
)  # fmt: skip
