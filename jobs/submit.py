"""Accepting a job: check, write, commit, then enqueue. Every way in (chat, API, command line, hook) ends here.

What destroys or overwrites becomes, where people ask for it in a chat, a question first (`jobs/confirmations.py`); so
does, whoever asks, what the setting `two_person` names.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from tortoise.exceptions import IntegrityError

from jobs import audit, chain, hourly_limit, lifecycle, runtime_settings, threads
from jobs.access import Principal
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import ConflictError, InvalidRequestError, NotFoundError, RequestRefusedError
from jobs.job_type import FollowUp, Policy
from jobs.lifecycle import NewJob
from jobs.models import Confirmation, Job, Repository
from jobs.parameters import checked
from jobs.place import Place, find_place, find_repository, number_of, said_of, schedule_of, with_archive
from jobs.present import PRIORITIES
from jobs.runtime_settings import RuntimeSettings
from jobs.scope import at_stake, removes_from, require_own_archives
from jobs.templates import with_template
from jobs.types import job_type
from jobs.view import JobStatus

IDEMPOTENCY_KEY = "Idempotency-Key"
CONFIRM_WITHIN_MINUTES = 10
_OF_THE_ASKER = frozenset({"principal", "origin", "request_key", "asked_by", "asked_in"})


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
    host: str | None = None
    """Of a job that works on no repository: the host to work on."""
    scheduled_job_id: int | None = None
    asked_by: str | None = None
    """Who asked, where it is another who says yes to it (`principal`)."""
    schedule: str = ""
    """The name of the schedule that asks; empty: none does."""
    template: str | None = None
    """The named set of parameters that those given are laid over."""
    then: Sequence[FollowUp] = ()
    """What its success is to be followed by, beside what the parameters ask for."""
    join_retry: bool = False
    """Whether a retry of the same job that has not ended is meant, where there is one: a button is clicked twice."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job of a request; `created` is False when the request had been accepted before."""

    job: Job
    created: bool


class SecondPersonNeededError(RequestRefusedError):
    """The request waits for another person's yes: `confirmation` is the question, which was written."""

    def __init__(self, confirmation: Confirmation) -> None:
        super().__init__(
            f"This takes a second person: somebody else must confirm it within {CONFIRM_WITHIN_MINUTES} minutes "
            f"(confirmation {confirmation.id})."
        )
        self.confirmation = confirmation


async def submit(request: JobRequest) -> Accepted:
    """Accept `request` as a job, once; raises a `RequestRefusedError` with a sentence, and then nothing was written.

    The exception is `SecondPersonNeededError`: then the question was written.
    """
    outcome = await submit_or_ask(request, interactive=False)
    if isinstance(outcome, Confirmation):
        raise SecondPersonNeededError(outcome)
    return outcome


async def submit_or_ask(request: JobRequest, *, interactive: bool = True) -> Accepted | Confirmation:
    """Accept `request` as a job, or write the question whether it is meant; once, as its key says.

    `interactive`: whether it comes from a chat, where what destroys or overwrites is asked.
    """
    request = await with_its_template(request)
    if first := await _first_job(request):
        return Accepted(first, created=False)
    if asked := await _first_question(request):
        return asked
    settings = await runtime_settings.load()
    new = await _checked(request, settings)
    steps = _steps_of(new)
    second_person = _is_of_two(steps, settings)
    if second_person or (interactive and any(job_type(step.kind).destroys(step.parameters) for step in steps)):
        return await _asked(request, new, second_person=second_person)
    return await _accepted(request, new, settings)


async def _accepted(request: JobRequest, new: NewJob, settings: RuntimeSettings) -> Accepted:
    try:
        job = await unit(partial(_accept, request, new, settings))
        return Accepted(job, created=job.request_key == new.request_key)
    except IntegrityError:
        if first := await _first_job(request):
            return Accepted(first, created=False)
        if new.repository_id is not None:
            await find_repository(str(new.repository_id))
        raise


async def accept_within(request: JobRequest) -> Job:
    """Inside a unit: accept a request without a key as part of something greater; raises as `submit` does."""
    settings = await runtime_settings.load()
    return await _accept(request, await _checked(await with_its_template(request), settings), settings)


async def accept_or_ask_within(request: JobRequest) -> Job | Confirmation:
    """Inside a unit: accept a request without a key, or write the question for a second person; raises as `submit`
    does otherwise.
    """
    settings, request = await runtime_settings.load(), await with_its_template(request)
    new = await _checked(request, settings)
    if _is_of_two(_steps_of(new), settings):
        return await _ask(request, new, second_person=True)
    return await _accept(request, new, settings)


async def takes_second_person(request: JobRequest) -> bool:
    """Whether a second person has to confirm a step of what is asked for; raises what `submit` would raise."""
    settings = await runtime_settings.load()
    if not settings.two_person:
        return False
    return _is_of_two(_steps_of(await _checked(await with_its_template(request), settings)), settings)


async def require_acceptable(request: JobRequest) -> None:
    """Raise what `submit` would raise for this request, and write nothing."""
    await _checked(await with_its_template(request), await runtime_settings.load())


async def retry(job_id: int, request: JobRequest) -> Accepted:
    """Ask for the same as an ended job did; raises as `retry_request` and `submit` do."""
    return await submit(await retry_request(job_id, request))


async def retry_request(job_id: int, request: JobRequest) -> JobRequest:
    """The request of an ended job again; `request` says who asks and from where, the rest comes from the job.

    Raises `NotFoundError`, and `ConflictError` while the job has not ended.
    """
    job = await Job.get_or_none(id=job_id)
    if job is None:
        raise NotFoundError(f"There is no job #{job_id}.")
    if not JobStatus(job.status).final:
        raise ConflictError(f"Job #{job_id} is {job.status}: it can be retried once it has ended.")
    schedule = await schedule_of(job)
    return replace(
        request,
        kind=job.kind,
        repository=job.repository_name,
        parameters=job.parameters,
        host=job.host,
        retry_of=job.id,
        then=chain.stored(job.follow_ups),
        # What the schedule's archives are called, and which of them a prune removes, follows from its name.
        schedule=schedule,
        scheduled_job_id=job.scheduled_job_id if schedule else None,
    )


async def with_its_template(request: JobRequest) -> JobRequest:
    """The request with the parameters that its template gives; raises `InvalidRequestError` for an unknown one."""
    parameters = await with_template(request.kind, request.template, request.parameters)
    return replace(request, parameters=parameters, template=None)


async def _first_job(request: JobRequest) -> Job | None:
    """The job that the request's key made before; raises `InvalidRequestError` when that was asked for other work."""
    if not request.request_key:
        return None
    job = await Job.get_or_none(request_key=request.request_key)
    if job is not None and not asks_for(request, job):
        raise _other_work(f"job #{job.id} was asked for with this key, and it does other work.")
    return job


def _other_work(sentence: str) -> InvalidRequestError:
    return InvalidRequestError(IDEMPOTENCY_KEY, f"{sentence} Use a new key.")


def asks_for(request: JobRequest, job: Job) -> bool:
    """Whether the job does what the request asks for; raises `InvalidRequestError` for parameters that nothing can."""
    if request.kind != job.kind or not _names(request, job):
        return False
    # A job of an older version lacks the parameters that its kind did not have then.
    does = checked(job_type(job.kind), job.parameters), [*chain.stored(job.follow_ups)]
    return _work(request.kind, request.parameters, request.then) == does


def asks_the_same(request: JobRequest, question: Confirmation) -> bool:
    """Whether the question is about what the request asks for; raises as `asks_for` does."""
    said = question.request
    if request.repository:
        named = request.repository in {question.repository_name, said.get("repository")}
    else:
        named = question.repository_name is None and request.host in {question.host, said.get("host")}
    if request.kind != question.kind or not named:
        return False
    asked = _work(question.kind, said["parameters"], chain.stored(said.get("then", ())))
    return _work(request.kind, request.parameters, request.then) == asked


def _work(
    kind_name: str, parameters: Mapping[str, Any], then: Sequence[FollowUp]
) -> tuple[dict[str, Any], list[FollowUp]]:
    """The parameters with every default, and all that is to follow."""
    kind = job_type(kind_name)
    full = checked(kind, parameters)
    return full, chain.steps(kind, full, then)


def _names(request: JobRequest, job: Job) -> bool:
    if not request.repository:
        return job.repository_name is None and request.host == job.host
    # Of a repository that was removed since, the job has kept the name alone.
    number = number_of(request.repository)
    return request.repository == job.repository_name if number is None else job.repository_id in {None, number}


async def _checked(request: JobRequest, settings: RuntimeSettings) -> NewJob:
    kind = job_type(request.kind)
    place = await _place(request)
    if request.priority not in PRIORITIES:
        raise InvalidRequestError("priority", f"{request.priority!r} is not one of {', '.join(PRIORITIES)}.")
    parameters = checked(kind, request.parameters)
    steps = chain.steps(kind, parameters, request.then)
    for step in (FollowUp(kind.kind, parameters), *steps):
        await _require_possible(step, request, place, settings.policy)
    return NewJob(
        kind=kind.kind,
        host=place.host,
        requested_by=request.asked_by or request.principal.subject,
        origin=request.origin,
        repository_id=place.repository_id,
        repository_name=place.repository_name,
        lane=place.lane,
        parameters=parameters,
        archive_name=place.target.archive.name if place.target.archive else None,
        request_key=request.request_key,
        priority=PRIORITIES[request.priority],
        channel=request.channel,
        retry_of=request.retry_of,
        follow_ups=[asdict(step) for step in steps],
        scheduled_job_id=request.scheduled_job_id,
    )


def _is_of_two(steps: Iterable[FollowUp], settings: RuntimeSettings) -> bool:
    return any(step.kind in settings.two_person for step in steps)


def _steps_of(new: NewJob) -> tuple[FollowUp, ...]:
    """The job and what is to follow it: all of it is asked for at once."""
    return (FollowUp(new.kind, new.parameters), *chain.stored(new.follow_ups))


async def _place(request: JobRequest) -> Place:
    """Where the job works, for who may work there: others are not told which archives there are."""
    kind, archive = job_type(request.kind), request.parameters.get("archive_id")
    place = await find_place(kind, request.repository, request.host, request.schedule)
    request.principal.require(kind.role, place.repository_name, request.asked_in)
    return await with_archive(place, archive) if kind.reads_archive and isinstance(archive, str) else place


async def _plan(new: NewJob, place: Place) -> list[str]:
    sentences: list[str] = []
    for step in _steps_of(new):
        kind = job_type(step.kind)
        sentences += kind.plan(step.parameters, place.target)
        sentences += await at_stake(kind, step.parameters, place)
    return sentences


async def _first_question(request: JobRequest) -> Confirmation | None:
    """The question that the request's key made before; raises `InvalidRequestError` when that is about other work."""
    if not request.request_key:
        return None
    row = await Confirmation.get_or_none(request_key=request.request_key)
    if row is not None and not asks_the_same(request, row):
        raise _other_work(f"confirmation {row.id} was asked for with this key, and it is about other work.")
    return row


async def _asked(request: JobRequest, new: NewJob, *, second_person: bool) -> Confirmation:
    try:
        return await unit(partial(_ask, request, new, second_person=second_person))
    except IntegrityError:
        if first := await _first_question(request):
            return first
        raise


async def _ask(request: JobRequest, new: NewJob, *, second_person: bool) -> Confirmation:
    place = await _place(request)
    said = {name: getattr(request, name) for name in JobRequest.__slots__ if name not in _OF_THE_ASKER}
    row = await Confirmation.create(
        kind=new.kind,
        repository_name=new.repository_name,
        host=new.host,
        request=said
        | {"parameters": dict(new.parameters), "then": [asdict(step) for step in request.then]}
        | {"place": said_of(place)},
        plan=await _plan(new, place),
        asked_by=new.requested_by,
        origin=request.origin,
        request_key=request.request_key,
        second_person=second_person,
        expires_at=now() + timedelta(minutes=CONFIRM_WITHIN_MINUTES),
    )
    if second_person:
        await threads.post_question(row, request.channel, new.repository_id)
    target = new.repository_name or new.host
    said = {"confirmation_id": row.id, "kind": new.kind}
    await audit.record(request.principal, "confirmation.ask", origin=request.origin, target=target, **said)
    return row


async def _require_possible(step: FollowUp, request: JobRequest, place: Place, policy: Policy) -> None:
    """Whether the asker may, and the place takes it; of a chain each step is looked at before anything is written."""
    kind = job_type(step.kind)
    role = kind.role_for(step.parameters, policy)
    request.principal.require(role, place.repository_name, request.asked_in)
    kind.check(step.parameters, place.target, policy)
    for name in await removes_from(kind, step.parameters, place):
        request.principal.require(role, name, request.asked_in)
    await require_own_archives(kind, step.parameters, place)


async def _unfinished_retry(new: NewJob) -> Job | None:
    """The retry of the same job that goes on; locked, so that of two clicks at once one comes first (PostgreSQL)."""
    await Job.filter(id=new.retry_of).select_for_update().first()
    return await Job.filter(retry_of=new.retry_of, completed_at__isnull=True).order_by("id").first()


async def _accept(request: JobRequest, new: NewJob, settings: RuntimeSettings) -> Job:
    if request.join_retry and (going_on := await _unfinished_retry(new)):
        return going_on
    await hourly_limit.keep(new, settings.policy)
    job = await lifecycle.create(new)
    # The new row's foreign key holds the repository's as it is (PostgreSQL): a change came before this look, or waits.
    unchanged = Repository.filter(id=new.repository_id, name=new.repository_name, host=new.host, lane=new.lane)
    if new.repository_id is not None and not await unchanged.exists():
        raise ConflictError(f"The repository {new.repository_name} was just changed. Ask again.")
    await audit.record(
        request.principal,
        f"{new.kind}.run",
        origin=request.origin,
        target=new.repository_name or new.host,
        job_id=job.id,
        **({"then": [step["kind"] for step in new.follow_ups]} if new.follow_ups else {}),
    )
    return job
