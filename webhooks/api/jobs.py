"""Jobs of every kind: the list, one job (which can be waited for), and its log."""

import asyncio
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from tortoise.queryset import QuerySet

from jobs import waiting
from jobs.access import Principal, Role
from jobs.cancel import cancel
from jobs.database.unit import reader
from jobs.errors import NotFoundError
from jobs.forget import forget
from jobs.models import NAME_LENGTH, Job
from jobs.present import view
from jobs.submit import IDEMPOTENCY_KEY, JobRequest, retry
from jobs.view import JobStatus, JobView
from webhooks.api.fields import Moment
from webhooks.api.job_logs import EVENTS, TEXT, LogQuery, stream_log
from webhooks.api.started import GREATEST_WAIT_S, Started, request_key, started
from webhooks.page import Page, PageQuery, page
from webhooks.route import Answer, Call, Plain, Route

LOOK_AGAIN_S = 2.0

RowId = Annotated[int, Field(ge=1, lt=10**9)]
Name = Annotated[str, StringConstraints(max_length=NAME_LENGTH)]
HostWord = Annotated[str, StringConstraints(max_length=255)]


class JobsQuery(PageQuery):
    """Which jobs; `since` and `until` bound `created_at`, the latter without its moment."""

    kind: Name | None = None
    status: JobStatus | None = None
    repository: Name | None = None
    host: HostWord | None = None
    scheduled_job_id: RowId | None = None
    parent_id: RowId | None = None
    since: Moment | None = None
    until: Moment | None = None


class WaitQuery(BaseModel):
    """`wait`: how many seconds the answer may be held back until the job has ended."""

    model_config = ConfigDict(extra="forbid")

    wait: float = Field(default=0, ge=0, le=GREATEST_WAIT_S)


async def list_jobs(call: Call[None, JobsQuery]) -> Page[JobView]:
    """The jobs that the principal may see."""
    return await page_of_jobs(call, _filtered(_visible(call.principal), call.query))


async def page_of_jobs(call: Call[Any, Any], rows: QuerySet[Job]) -> Page[JobView]:
    """One page of `rows`, as the query says."""

    async def present(rows: Any) -> list[JobView]:
        found = await waiting.standings(rows)
        return [view(row, found[row.id], base_url=call.context.settings.base_url) for row in rows]

    return Page[JobView](**await page(rows, call.query, present))


async def show_job(call: Call[None, WaitQuery]) -> JobView:
    """One job, as soon as it has ended or the wait is over."""
    await find_job(call, call.id)
    return await _shown(call, await _ended(call))


async def cancel_job(call: Plain) -> Answer:
    """Ask for a job's end: 202 while its host has to stop it, 200 once it is cancelled, 409 when it is too late."""
    job = await cancel(call.id, call.principal, origin=call.origin)
    body = await _shown(call, job)
    return Answer(body, status=HTTPStatus.OK if body.status.final else HTTPStatus.ACCEPTED)


async def forget_job(call: Plain) -> JobView:
    """Give up a job whose host is gone, and free its lane; 409 where the host may still tell of it."""
    return await _shown(call, await forget(call.id, call.principal, origin=call.origin))


async def retry_job(call: Plain) -> Answer:
    """Ask for the same as an ended job did, as a new job."""
    job = await find_job(call, call.id)
    request = JobRequest(job.kind, call.principal, call.origin, request_key=request_key(call))
    return started(call, (await retry(job.id, request)).job)


async def find_job(call: Call[Any, Any], job_id: int, kind: str | None = None) -> Job:
    """The job, where the principal may see it; raises `NotFoundError`, also for a job of another kind."""
    job = await _read(job_id)
    if job is None or kind not in {None, job.kind}:
        raise NotFoundError(f"There is no {kind or ''} job {job_id}.".replace("  ", " "))
    call.principal.require(Role.VIEW, job.repository_name)
    return job


async def _shown(call: Call[Any, Any], job: Job) -> JobView:
    return view(job, await waiting.standing_of(job), base_url=call.context.settings.base_url)


async def _read(job_id: int) -> Job | None:
    return await Job.filter(id=job_id).using_db(reader()).first()


async def _ended(call: Call[None, WaitQuery]) -> Job:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + call.query.wait
    with call.context.queue.ear(call.id) as ear:
        while True:
            job = await find_job(call, call.id)
            left = deadline - loop.time()
            if job.completed_at or left <= 0 or not call.connected():
                return job
            await ear.wait(min(left, LOOK_AGAIN_S))


def _visible(principal: Principal) -> QuerySet[Job]:
    names = principal.limited_to(Role.VIEW)
    return Job.all() if names is None else Job.filter(repository_name__in=list(names))


def _filtered(rows: QuerySet[Job], query: JobsQuery) -> QuerySet[Job]:
    wanted: dict[str, Any] = query.model_dump(
        include={"kind", "status", "host", "scheduled_job_id", "parent_id"}, exclude_none=True
    )
    wanted |= _repository(query.repository) if query.repository else {}
    wanted |= _bound("created_at__gte", query.since) | _bound("created_at__lt", query.until)
    return rows.filter(**wanted)


def _repository(reference: str) -> dict[str, Any]:
    by_id = reference.isascii() and reference.isdigit() and len(reference) < 10
    return {"repository_id": int(reference)} if by_id else {"repository_name": reference}


def _bound(column: str, moment: datetime | None) -> dict[str, datetime]:
    return {column: moment} if moment else {}


async def _job_log(call: Call[None, LogQuery]) -> Any:
    return await stream_log(call, await find_job(call, call.id))


ROUTES = (
    Route(
        "GET", "/api/jobs", Role.VIEW, list_jobs, "The jobs of every kind, newest first",
        query=JobsQuery, answer=Page[JobView], by_repository=True,
    ),
    Route(
        "GET", "/api/jobs/{id}", Role.VIEW, show_job, "One job; `wait` holds the answer until it has ended",
        query=WaitQuery, answer=JobView, by_repository=True,
    ),
    Route(
        "GET", "/api/jobs/{id}/logs", Role.VIEW, _job_log, "A job's log, while it runs as it comes",
        query=LogQuery, media_type=TEXT, other_media_types=(EVENTS,), by_repository=True,
    ),
    Route(
        "POST", "/api/jobs/{id}/cancel", Role.OPERATE, cancel_job, "Asks for a job's end",
        answer=JobView, also=(HTTPStatus.ACCEPTED,), by_repository=True,
    ),
    Route(
        "POST", "/api/jobs/{id}/forget", Role.ADMINISTER, forget_job, "Gives up a job whose host is gone for good",
        answer=JobView, by_repository=True,
    ),
    Route(
        "POST", "/api/jobs/{id}/retry", Role.OPERATE, retry_job, "Asks for the same again, as a new job",
        answer=Started, status=HTTPStatus.ACCEPTED, also=(HTTPStatus.TOO_MANY_REQUESTS,),
        by_repository=True, request_headers=(IDEMPOTENCY_KEY,),
    ),
)  # fmt: skip
