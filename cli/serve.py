"""`locutus up`, `gateway`, `worker`, `migrate`: the processes."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
import typer

from cli.composition import (
    chat_platforms,
    gateway_app,
    make_data_directory,
    make_secret_key,
    require_redis,
    secret_box,
    served,
    storage,
    until_stopped,
)
from cli.embedded_redis import embedded_redis, up_lock
from cli.logging import configure_logging
from jobs.database.connection import DatabaseNotMigratedError, DatabaseUnavailableError
from jobs.database.connection import migrate as migrate_database
from jobs.hosts import HostTakenError
from jobs.queue import Queue
from jobs.settings import Settings, SettingsError, load_settings
from worker.app import WorkerContext, WorkerRole, run_worker

OPEN_TO_OTHERS = 0o077
LEAVE_WITHIN_S = 4.5
MENDABLE = (DatabaseNotMigratedError, DatabaseUnavailableError, HostTakenError, SettingsError)
"""What the person who starts a process can mend: a sentence says it, and no traceback."""

_log = structlog.get_logger()


def up(
    *,
    replace_host: Annotated[bool, typer.Option(help="Take this host's name over from another data directory.")] = False,
) -> None:
    """Run everything on this machine: gateway, worker and a Redis of its own."""
    settings = load_settings()
    make_data_directory(settings)
    with up_lock(settings.data_dir):
        _run(_up(settings, replace_host=replace_host))


def gateway() -> None:
    """Run one gateway of a fleet."""
    settings = load_settings()
    require_redis(settings)
    make_data_directory(settings)
    _run(_gateway(settings))


def worker(
    *,
    host: Annotated[str | None, typer.Option(help="The host name whose jobs it runs.")] = None,
    role: Annotated[WorkerRole, typer.Option(help="host runs jobs, service shows and delivers them.")] = WorkerRole.ALL,
    replace_host: Annotated[bool, typer.Option(help="Take the host's name over from another data directory.")] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="At SIGTERM wait for the runs to end; a second one leaves.")
    ] = False,
) -> None:
    """Run one worker of a fleet."""
    settings = load_settings(**({"host": host} if host else {}))
    require_redis(settings)
    make_data_directory(settings)
    _run(_worker(settings, role, replace_host=replace_host, drain=drain))


def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load_settings()
    make_data_directory(settings)
    _run(migrate_database(settings.database_url))
    typer.echo("The database has the newest schema.")


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end; what a person must mend comes out as a `SettingsError`, also from within a group of tasks."""
    configure_logging()
    try:
        asyncio.run(main)
    except (*MENDABLE, BaseExceptionGroup) as error:
        causes = list(_leaves(error))
        if not all(isinstance(cause, MENDABLE) for cause in causes):
            raise
        raise SettingsError(str(causes[0])) from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _warn_of_half_a_platform(settings: Settings) -> None:
    speaks = settings.slack_bot_token is not None
    hears = settings.slack_signing_secret is not None or settings.slack_app_token is not None
    if hears and not speaks:
        _log.warning("slack_half_configured", missing="SLACK_BOT_TOKEN", without_it="nothing is posted")
    if speaks and not hears:
        missing = "SLACK_SIGNING_SECRET or SLACK_APP_TOKEN"
        _log.warning("slack_half_configured", missing=missing, without_it="no command comes in")
    if settings.discord_public_key and settings.discord_token is None:
        _log.warning("discord_half_configured", missing="DISCORD_TOKEN", without_it="nothing is posted")


def _warn_of_an_open_directory(settings: Settings) -> None:
    if settings.data_dir.stat().st_mode & OPEN_TO_OTHERS:
        _log.warning("data_directory_open_to_others", mend=f"chmod 700 {settings.data_dir}")


async def _up(settings: Settings, *, replace_host: bool) -> None:
    _warn_of_an_open_directory(settings)
    _warn_of_half_a_platform(settings)
    make_secret_key(settings)
    async with contextlib.AsyncExitStack() as opened:
        redis_url = settings.redis_url or await opened.enter_async_context(embedded_redis(settings.data_dir))
        await migrate_database(settings.database_url)
        queue = await opened.enter_async_context(storage(settings, redis_url))
        # The worker first: its host's key is published before the gateway says that it is ready.
        working = await opened.enter_async_context(_working(settings, queue, WorkerRole.ALL, replace_host=replace_host))
        await opened.enter_async_context(served(settings, gateway_app(settings, queue, secret_box(settings))))
        _log.info("up", url=settings.base_url, data_dir=str(settings.data_dir), host=settings.host)
        await until_stopped()
        _leave_soon()
        working.task.cancel()  # now, and not after the gateway's last request: nothing more is claimed


async def _gateway(settings: Settings) -> None:
    _warn_of_half_a_platform(settings)
    secrets = secret_box(settings)
    async with storage(settings) as queue, served(settings, gateway_app(settings, queue, secrets)):
        _log.info("gateway_up", url=settings.base_url)
        await until_stopped()
        _leave_soon()


async def _worker(settings: Settings, role: WorkerRole, *, replace_host: bool, drain: bool) -> None:
    async with storage(settings) as queue, _working(settings, queue, role, replace_host=replace_host) as working:
        _log.info("worker_up", host=settings.host, role=role)
        await until_stopped()
        if drain:
            await _drained(working)
        _leave_soon()


@dataclass(frozen=True, slots=True)
class _Working:
    """A worker beside something else; `draining` has it end once its runs have."""

    task: "asyncio.Task[None]"
    draining: asyncio.Event


@contextlib.asynccontextmanager
async def _working(
    settings: Settings, queue: Queue, role: WorkerRole, *, replace_host: bool
) -> AsyncIterator[_Working]:
    """A worker beside the body; the body ends when the worker fails, the worker when the body ends."""
    secrets = None if role is WorkerRole.HOST else secret_box(settings)
    async with chat_platforms(settings) as platforms, asyncio.TaskGroup() as tasks:
        ready = asyncio.Event()
        context = WorkerContext(settings, queue, role, platforms, secrets, replace_host)
        working = tasks.create_task(run_worker(context, ready))
        await _either(working, ready)
        yield _Working(working, context.draining)
        working.cancel()


async def _drained(working: _Working) -> None:
    """Wait for the end of the worker's runs, or for somebody who does not want to."""
    working.draining.set()
    impatient = asyncio.create_task(until_stopped())
    try:
        await asyncio.wait({working.task, impatient}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)


def _leave_soon() -> None:
    """See to it that this process has left in time: what else would hold it, such as a database that does not answer
    or a dead mount, is cut off as a kill would do it, which everything here survives.
    """
    timer = threading.Timer(LEAVE_WITHIN_S, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    _log.warning("stop_cut_short", after_s=LEAVE_WITHIN_S)
    sys.stderr.flush()
    os._exit(0)


async def _either(working: "asyncio.Task[None]", ready: asyncio.Event) -> None:
    """Wait until the worker is ready or has failed, which its task group then raises."""
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
