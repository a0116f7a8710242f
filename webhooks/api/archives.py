"""The archives of a repository, as far as they are known; with `refresh` the host is asked for the list."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints
from tortoise.expressions import Q

from jobs.access import Role
from jobs.database.unit import reader
from jobs.models import Archive
from jobs.submit import IDEMPOTENCY_KEY, JobRequest, submit
from jobs.types import JOB_TYPES
from webhooks.api.repositories import ONE, find
from webhooks.api.started import Started, request_key, started
from webhooks.page import Page, PageQuery
from webhooks.route import Answer, Call, Route

KIND = JOB_TYPES["list_archives"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Cursor = Annotated[str, StringConstraints(pattern="^[0-9]{1,18}-[0-9]{1,9}$")]


class ArchivesQuery(PageQuery):
    """Which page, newest first; `refresh`: have the host list the archives anew, and answer with that job."""

    cursor: Cursor | None = None
    refresh: bool = False


class ArchiveAnswer(BaseModel):
    """An archive. `id` is borg's (hexadecimal), sizes are bytes; what no job counted is null."""

    id: str = Field(validation_alias="borg_id")
    name: str
    started_at: datetime
    original_size: int | None
    nfiles: int | None
    job_id: int | None


async def list_archives(call: Call[None, ArchivesQuery]) -> Page[ArchiveAnswer] | Answer:
    """One page of what is known, or the job that reads it anew."""
    repository = await find(call)
    if call.query.refresh:
        request = JobRequest(
            KIND.kind, call.principal, call.origin, repository.name, request_key=request_key(call), channel=None
        )
        return started(call, (await submit(request)).job)
    rows = Archive.filter(_older_than(call.query.cursor), repository_id=repository.id).using_db(reader())
    found = await rows.order_by("-started_at", "-id").limit(call.query.limit + 1)
    shown = found[: call.query.limit]
    cursor = _cursor(shown[-1]) if len(found) > len(shown) else None
    items = [ArchiveAnswer.model_validate(row, from_attributes=True) for row in shown]
    return Page[ArchiveAnswer](items=items, next_cursor=cursor)


def _cursor(row: Archive) -> str:
    """Where the next page begins: also where that archive is gone by then."""
    return f"{(row.started_at - EPOCH) // timedelta(microseconds=1)}-{row.id}"


def _older_than(cursor: str | None) -> Q:
    if cursor is None:
        return Q()
    microseconds, row_id = map(int, cursor.split("-"))
    at = EPOCH + timedelta(microseconds=min(microseconds, _LATEST))
    return Q(started_at__lt=at) | Q(started_at=at, id__lt=row_id)


_LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)

ROUTES = (
    Route(
        "GET", f"{ONE}/archives", Role.VIEW, list_archives,
        "A repository's archives, newest first; `refresh` asks its host for them",
        query=ArchivesQuery, answer=Page[ArchiveAnswer], other_answers=((HTTPStatus.ACCEPTED, Started),),
        also=(HTTPStatus.CONFLICT,), by_repository=True, request_headers=(IDEMPOTENCY_KEY,),
    ),
)  # fmt: skip
