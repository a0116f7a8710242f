"""Group commit: what asks for a transaction while one is under way shares the next. With many requests at once, the
commits are what costs, and these become one for all that wait.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from jobs.database.unit import savepoint, unit

T = TypeVar("T")

MOST = 100


@dataclass(frozen=True, slots=True)
class _Member:
    """One work of a group, and who waits for its result. Works of one `order` stand together, the least first."""

    order: int
    work: Callable[[], Awaitable[Any]]
    result: asyncio.Future[Any]

    def settle(self, outcome: Any) -> None:
        """Hand a result or an error to who waits for it, if somebody still does."""
        if self.result.done():
            return
        if isinstance(outcome, Exception):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)


class GroupCommit:
    """Runs works in units of many; one that fails alone is rolled back alone."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting: list[_Member] = []

    async def unit(self, work: Callable[[], Awaitable[T]], order: int = 0) -> T:
        """Run `work` in a transaction with whatever else waits; its result once committed, or its error.

        Works lock rows in the sequence of `order`, so that the groups of two processes can't wait for each other.
        """
        member = _Member(order, work, asyncio.get_running_loop().create_future())
        self._waiting.append(member)
        try:
            async with self._turn:
                if not member.result.done():
                    await self._commit_waiting()
            return await member.result  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            member.result.cancel()
            raise

    async def _commit_waiting(self) -> None:
        """Whoever has the turn commits for all; those find their results when their turns come."""
        group = sorted(self._waiting[:MOST], key=lambda member: member.order)
        self._waiting = self._waiting[MOST:]
        try:
            outcomes = await unit(partial(_run_all, group))
        except asyncio.CancelledError:
            for member in group:
                member.result.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed to the callers, whatever it is
            outcomes = [error] * len(group)
        for member, outcome in zip(group, outcomes, strict=True):
            member.settle(outcome)


async def _run_all(group: list[_Member]) -> list[Any]:
    return [await _run(member) for member in group]


async def _run(member: _Member) -> Any:
    try:
        async with savepoint():
            return await member.work()
    except Exception as error:  # noqa: BLE001 - handed to the caller, whatever it is
        return error
