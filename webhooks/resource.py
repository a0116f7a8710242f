"""What all resources have alike: the list, one by its id, and its removal. Making and changing is each one's own."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from tortoise import Model

from jobs import audit
from jobs.access import Role
from jobs.database.unit import unit
from jobs.errors import NotFoundError
from webhooks.page import Page, PageQuery, page
from webhooks.route import Call, Plain, Route

M = TypeVar("M", bound=Model)
A = TypeVar("A", bound=BaseModel)


async def _nothing_else(row: Any) -> None:
    del row


@dataclass(frozen=True, slots=True)
class Resource(Generic[M, A]):
    """A table under a path. `noun` is what people call a row; `removed` is awaited in the unit that removes one."""

    path: str
    noun: str
    rows: type[M]
    answer: type[A]
    present: Callable[[M], A]
    needs: Role = Role.ADMINISTER
    removed: Callable[[M], Awaitable[None]] = _nothing_else

    async def find(self, row_id: int) -> M:
        """The row; raises `NotFoundError`."""
        row = await self.rows.get_or_none(id=row_id)
        if row is None:
            raise NotFoundError(f"There is no {self.noun} {row_id}.")
        return row

    def listing(self) -> Route:
        """GET of the collection."""
        answer = Page[self.answer]  # type: ignore[name-defined]  # a model made at run time

        async def handler(call: Call[None, PageQuery]) -> BaseModel:
            return answer(**await page(self.rows.all(), call.query, self._present_all))

        summary = f"The {self.noun}s, newest first"
        return Route("GET", self.path, self.needs, handler, summary, query=PageQuery, answer=answer)

    def reading(self) -> Route:
        """GET of one."""

        async def handler(call: Plain) -> BaseModel:
            return self.present(await self.find(call.id))

        return Route("GET", f"{self.path}/{{id}}", self.needs, handler, f"One {self.noun}", answer=self.answer)

    def removal(self, needs: Role | None = None) -> Route:
        """DELETE of one; it takes more than the rest of the resource where `needs` says so."""

        async def handler(call: Plain) -> None:
            await unit(partial(self._remove, call))

        path = f"{self.path}/{{id}}"
        return Route(
            "DELETE", path, needs or self.needs, handler, f"Removes a {self.noun}", status=HTTPStatus.NO_CONTENT
        )

    async def record(self, call: Call[Any, Any], verb: str, row: Any, **detail: Any) -> None:
        """Inside a unit: the audit entry of a change to `row`."""
        action = f"{self.noun.replace(' ', '_')}.{verb}"
        await audit.record(call.principal, action, origin=call.origin, target=str(row.id), **detail)

    async def _present_all(self, rows: Sequence[M]) -> list[A]:
        return [self.present(row) for row in rows]

    async def _remove(self, call: Plain) -> None:
        row = await self.find(call.id)
        await self.removed(row)
        await row.delete()
        await self.record(call, "remove", row)
