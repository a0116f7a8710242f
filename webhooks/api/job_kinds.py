"""The routes of the job types, made from their declarations alone: start, status at their own kind only, log."""

from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, create_model

from jobs.access import Role
from jobs.job_type import FollowUp, JobType
from jobs.models import Job
from jobs.repository_fields import Channel, HostName
from jobs.submit import IDEMPOTENCY_KEY, JobRequest, submit
from jobs.types import JOB_TYPES
from jobs.view import JobView
from webhooks.api.fields import Body
from webhooks.api.job_logs import EVENTS, TEXT, LogQuery, stream_log
from webhooks.api.jobs import WaitQuery, find_job, page_of_jobs, show_job
from webhooks.api.repositories import find
from webhooks.api.started import Started, request_key, started
from webhooks.page import Page, PageQuery
from webhooks.route import Answer, Call, Route

REPOSITORY = "repo"
ALSO = (HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS)


def _by_number(given: object) -> object:
    """An id may be a JSON number."""
    return str(given) if type(given) is int else given


RepositoryReference = Annotated[
    str,
    BeforeValidator(_by_number),
    StringConstraints(pattern="^([0-9]{1,9}|[a-z0-9._-]*[a-z._-][a-z0-9._-]*)$", max_length=63),
    Field(description="A repository's name or id"),
]


class Step(Body):
    """A further job of a chain. A parameter that is not given is that of the first job, where both kinds have it."""

    kind: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Start(BaseModel):
    """What every start may say beside the parameters of its kind."""

    # Not `use_attribute_docstrings`, as in `jobs/events.py`: the kinds' models are made from this one at run time.
    model_config = ConfigDict(extra="forbid")

    channel: Channel | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    template: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        None, description="A named set of parameters; those given beside it win."
    )
    then: list[str | Step] = Field(
        default_factory=list,
        description="What its success is followed by, one after another: kinds, or kinds with their parameters.",
    )


def routes() -> tuple[Route, ...]:
    """The routes of all job types."""
    return tuple(route for kind in JOB_TYPES.values() for route in _routes(kind))


def _routes(kind: JobType) -> Iterator[Route]:
    noun = f"{kind.words.noun} {kind.words.preposition} a {'repository' if kind.needs_repository else 'host'}"
    if path := kind.routes.start:
        yield Route(
            "POST", path, kind.role, partial(start, kind), f"{noun}: accepts a job",
            body=start_body(kind), answer=Started, status=HTTPStatus.ACCEPTED, also=ALSO,
            by_repository=kind.needs_repository, request_headers=(IDEMPOTENCY_KEY,),
        )  # fmt: skip
    if path := kind.routes.status:
        yield Route(
            "GET", path, Role.VIEW, partial(show, kind), f"{noun}: one job",
            query=WaitQuery, answer=JobView, by_repository=True,
        )  # fmt: skip
    if path := kind.routes.logs:
        yield Route(
            "GET", path, Role.VIEW, partial(show_log, kind), f"{noun}: the log, while the job runs as it comes",
            query=LogQuery, media_type=TEXT, other_media_types=(EVENTS,), by_repository=True,
        )  # fmt: skip
    if path := kind.routes.listing:
        yield Route(
            "GET", path, Role.VIEW, partial(list_kind, kind), f"{noun}: the jobs, newest first",
            query=PageQuery, answer=Page[JobView], by_repository=True,
        )  # fmt: skip


def start_body(kind: JobType) -> type[BaseModel]:
    """The body of a start: the repository, the kind's parameters, and what every start may say.

    What stands in the path does not stand in the body.
    """
    path = kind.routes.start or ""
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in kind.parameters.model_fields.items()
        if f"{{{name}}}" not in path
    }
    if not kind.needs_repository:
        fields["host"] = (HostName | None, None)
    elif f"{{{REPOSITORY}}}" not in path:
        fields["repository"] = (RepositoryReference, ...)
    name = "".join(word.capitalize() for word in kind.kind.split("_"))
    return create_model(f"{name}Start", __base__=Start, **fields)


async def start(kind: JobType, call: Call[Any, None]) -> Answer:
    """Accept a job; the same `Idempotency-Key` again is answered with the first job."""
    request = JobRequest(
        kind=kind.kind,
        principal=call.principal,
        origin=call.origin,
        repository=call.path.get(REPOSITORY) or getattr(call.body, "repository", None),
        host=None if kind.needs_repository else call.body.host or call.context.settings.host,
        parameters=_parameters(kind, call.body, call.path),
        request_key=request_key(call),
        channel=call.body.channel,
        priority=call.body.priority,
        template=call.body.template,
        then=tuple(follow_up(step) for step in call.body.then),
    )
    accepted = await submit(request)
    return started(call, accepted.job)


async def show(kind: JobType, call: Call[None, WaitQuery]) -> JobView:
    """One job of this kind."""
    await find_job(call, call.id, kind.kind)
    return await show_job(call)


async def show_log(kind: JobType, call: Call[None, LogQuery]) -> Any:
    """The log of one job of this kind."""
    return await stream_log(call, await find_job(call, call.id, kind.kind))


async def list_kind(kind: JobType, call: Call[None, PageQuery]) -> Page[JobView]:
    """The jobs of this kind in one repository."""
    return await page_of_jobs(call, Job.filter(repository_id=(await find(call)).id, kind=kind.kind))


def follow_up(said: str | Step) -> FollowUp:
    """A further job as a chain has it."""
    return FollowUp(said) if isinstance(said, str) else FollowUp(said.kind, said.parameters)


def _parameters(kind: JobType, body: BaseModel, path: Mapping[str, str]) -> dict[str, Any]:
    names = set(kind.parameters.model_fields)
    said = body.model_dump(mode="json", include=names, exclude_unset=True)
    return said | {name: value for name, value in path.items() if name in names}
