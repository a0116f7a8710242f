"""Accepting a job: check, write, commit, then enqueue. Every way in (chat, API, command line, hook) ends here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import ValidationError
from tortoise.exceptions import IntegrityError

from jobs import audit, lifecycle
from jobs.access import Principal
from jobs.database.unit import unit
from jobs.errors import ConflictError, InvalidRequestError, NotFoundError
from jobs.field_errors import field_name, reason
from jobs.lifecycle import NewJob
from jobs.models import Job, Repository
from jobs.present import PRIORITIES
from jobs.types import job_type
from jobs.view import JobStatus

IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What somebody wants done. `request_key` names the request itself, so that its repetition finds the first job."""

    kind: str
    principal: Principal
    origin: str
    repository: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    request_key: str | None = None
    channel: str | None = None
    asked_in: str | None = None
    """The channel that the request came from, for roles that are limited to channels."""
    priority: str = "normal"
    retry_of: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job of a request; `created` is False when the request had been accepted before."""

    job: Job
    created: bool


async def submit(request: JobRequest) -> Accepted:
    """Accept `request` as a job, once; raises a `RequestRefusedError` with a sentence, and then nothing was written."""
    if first := await _first_job(request):
        return Accepted(first, created=False)
    new = await _checked(request)
    try:
        return Accepted(await unit(partial(_accept, request, new)), created=True)
    except IntegrityError:
        if first := await _first_job(request):
            return Accepted(first, created=False)
        if new.repository_id is not None:
            await find_repository(str(new.repository_id))
        raise


async def accept_within(request: JobRequest) -> Job:
    """Inside a unit: accept a request without a key as part of something greater; raises as `submit` does."""
    return await _accept(request, await _checked(request))


async def retry(job_id: int, request: JobRequest) -> Accepted:
    """Ask for the same as an ended job did; `request` says who asks and from where, the rest comes from the job.

    Raises `NotFoundError`, `ConflictError` while the job has not ended, and what `submit` raises.
    """
    job = await Job.get_or_none(id=job_id)
    if job is None:
        raise NotFoundError(f"There is no job #{job_id}.")
    if not JobStatus(job.status).final:
        raise ConflictError(f"Job #{job_id} is {job.status}: it can be retried once it has ended.")
    again = replace(
        request,
        kind=job.kind,
        repository=job.repository_name,
        parameters=job.parameters,
        retry_of=job.retry_of or job.id,
    )
    return await submit(again)


async def find_repository(reference: str) -> Repository:
    """The repository with this id or name; raises `NotFoundError`."""
    repository = None
    if (number := _number(reference)) is not None:
        repository = await Repository.get_or_none(id=number)
    elif reference.isprintable():
        repository = await Repository.get_or_none(name=reference)
    if repository is None:
        raise NotFoundError(f"There is no repository {reference}. `/backup list` shows those there are.")
    return repository


def _number(reference: str) -> int | None:
    return int(reference) if re.fullmatch(r"[0-9]{1,9}", reference) else None


async def _first_job(request: JobRequest) -> Job | None:
    """The job that the request's key made before; raises `InvalidRequestError` when that was asked for other work."""
    if not request.request_key:
        return None
    job = await Job.get_or_none(request_key=request.request_key)
    if job is not None and not _asks_for(request, job):
        raise InvalidRequestError(
            IDEMPOTENCY_KEY, f"job #{job.id} was asked for with this key, and it does other work. Use a new key."
        )
    return job


def _asks_for(request: JobRequest, job: Job) -> bool:
    if request.kind != job.kind or not _names(request.repository or "", job):
        return False
    return _parameters(job_type(job.kind).parameters.model_validate, request.parameters) == job.parameters


def _names(reference: str, job: Job) -> bool:
    # Of a repository that was removed since, the job has kept the name alone.
    number = _number(reference)
    return reference == job.repository_name if number is None else job.repository_id in {None, number}


async def _checked(request: JobRequest) -> NewJob:
    repository = await find_repository(request.repository) if request.repository else None
    kind = job_type(request.kind)
    if repository is None:
        raise InvalidRequestError("repository", "name the repository to work on.")
    request.principal.require(kind.role, repository.name, request.asked_in)
    if request.priority not in PRIORITIES:
        raise InvalidRequestError("priority", f"{request.priority!r} is not one of {', '.join(PRIORITIES)}.")
    return NewJob(
        kind=kind.kind,
        host=repository.host,
        requested_by=request.principal.subject,
        origin=request.origin,
        repository_id=repository.id,
        repository_name=repository.name,
        lane=repository.lane,
        parameters=_parameters(kind.parameters.model_validate, request.parameters),
        request_key=request.request_key,
        priority=PRIORITIES[request.priority],
        channel=request.channel,
        retry_of=request.retry_of,
    )


def _parameters(validate: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(validate(dict(given)).model_dump(mode="json"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidRequestError(field_name(first), reason(first)) from error


async def _accept(request: JobRequest, new: NewJob) -> Job:
    job = await lifecycle.create(new)
    # The new row's foreign key holds the repository's as it is (PostgreSQL): a change came before this look, or waits.
    unchanged = Repository.filter(id=new.repository_id, name=new.repository_name, host=new.host, lane=new.lane)
    if new.repository_id is not None and not await unchanged.exists():
        raise ConflictError(f"The repository {new.repository_name} was just changed. Ask again.")
    await audit.record(
        request.principal, f"{new.kind}.run", origin=request.origin, target=new.repository_name, job_id=job.id
    )
    return job
