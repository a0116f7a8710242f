"""Lists: newest first, a page at a time; the cursor is the id of the last row that was answered."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from tortoise import Model
from tortoise.queryset import QuerySet

from jobs.database.unit import reader

DEFAULT_LIMIT = 50
GREATEST_LIMIT = 200

M = TypeVar("M", bound=Model)
A = TypeVar("A", bound=BaseModel)


class Page(BaseModel, Generic[A]):
    """One page; `next_cursor` leads to the older rows, None: there are none."""

    items: list[A]
    next_cursor: str | None


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=GREATEST_LIMIT)
    cursor: Annotated[str, StringConstraints(pattern="^[0-9]{1,9}$")] | None = None


async def page(
    rows: QuerySet[M], query: PageQuery, present: Callable[[Sequence[M]], Awaitable[list[A]]]
) -> dict[str, Any]:
    """The fields of a `Page` of `rows`."""
    if query.cursor is not None:
        rows = rows.filter(id__lt=int(query.cursor))
    found: list[Any] = list(await rows.using_db(reader()).order_by("-id").limit(query.limit + 1))
    shown = found[: query.limit]
    more = len(found) > query.limit
    return {"items": await present(shown), "next_cursor": str(shown[-1].id) if more else None}
