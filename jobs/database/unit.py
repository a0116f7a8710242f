"""The only place that opens a transaction.

A transaction runs in a task of its own that nobody cancels half-way: a handler whose client has gone, a shutdown or a
timeout loses the wait, never the work. What must follow a commit (a queue entry, a bell) is registered inside and runs
after it. No network call belongs inside a unit: on SQLite an open transaction holds the process's only writing
connection.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TypeVar

import structlog
from tortoise import Model
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.connection import get_connections
from tortoise.transactions import in_transaction

T = TypeVar("T")
Hook = Callable[[], Awaitable[None]]

WRITER = "default"
READER = "reader"

_log = structlog.get_logger()
_owned: set[asyncio.Task[None]] = set()
_hooks: ContextVar[list[Hook] | None] = ContextVar("after_commit_hooks", default=None)


class NoUnitError(RuntimeError):
    """A function that belongs inside a unit of work was called outside of one, or a unit was opened inside another."""


async def unit(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` in one transaction and return its result once that is committed; its error rolls back and is raised.

    The hooks registered by `after_commit` start after the commit and do not delay the caller; `finish_units` awaits
    them.
    """
    if _hooks.get() is not None:
        raise NoUnitError("A unit of work can't be opened inside another one.")
    committed: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_run(work, committed))
    _owned.add(task)
    task.add_done_callback(_owned.discard)
    try:
        return await asyncio.shield(committed)
    except asyncio.CancelledError:
        committed.add_done_callback(_log_failure)
        raise


def after_commit(hook: Hook) -> None:
    """Have `hook` awaited after the current unit's commit; it is forgotten when the unit rolls back."""
    hooks = _hooks.get()
    if hooks is None:
        raise NoUnitError("There is no unit of work to wait for.")
    hooks.append(hook)


@asynccontextmanager
async def savepoint() -> AsyncIterator[None]:
    """A part of a unit that may fail alone: its error rolls back to here, and the unit can go on."""
    if _hooks.get() is None:
        raise NoUnitError("A savepoint needs a unit of work around it.")
    async with in_transaction(WRITER):
        yield


async def insert_all(rows: Sequence[Model]) -> None:
    """Inside a unit: insert rows of one table in one statement; they get no ids."""
    if _hooks.get() is None:
        raise NoUnitError("Rows are inserted together inside a unit of work only: cancelled, they would stay half-way.")
    await type(rows[0]).bulk_create(rows)


async def update_all(rows: Sequence[Model], *columns: str) -> None:
    """Inside a unit: write these columns of rows of one table in one statement."""
    if _hooks.get() is None:
        raise NoUnitError("Rows are written together inside a unit of work only: cancelled, they would stay half-way.")
    await type(rows[0]).bulk_update(rows, columns)


def writer() -> BaseDBAsyncClient:
    """The current transaction's connection, or the writing one."""
    return get_connections().get(WRITER)


def reader() -> BaseDBAsyncClient:
    """The connection for lists, histories and logs: on SQLite a read-only one that no open transaction blocks."""
    connections = get_connections()
    return connections.get(READER if READER in connections.db_config else WRITER)


async def finish_units() -> None:
    """Wait until every open unit and its hooks have ended: to be called before the database is closed."""
    while _owned:
        await asyncio.gather(*_owned, return_exceptions=True)


async def _run(work: Callable[[], Awaitable[T]], committed: "asyncio.Future[T]") -> None:
    hooks: list[Hook] = []
    _hooks.set(hooks)
    try:
        async with in_transaction(WRITER):
            result = await work()
    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
        committed.set_exception(error)
        return
    _hooks.set(None)
    committed.set_result(result)
    for hook in hooks:
        await _run_hook(hook)


def _log_failure(committed: "asyncio.Future[T]") -> None:
    if error := committed.exception():
        _log.error("unit_failed_unseen", exc_info=error)


async def _run_hook(hook: Hook) -> None:
    try:
        await hook()
    except Exception:  # noqa: BLE001 - named edge: the commit stands, whatever becomes of what follows it
        _log.warning("after_commit_hook_failed", exc_info=True)
