"""The worker: one arq worker on its host's queue, the runs of this host, and the service tasks, as its role says."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import structlog
from arq.cron import cron
from arq.worker import func

from bot.platform import ChatPlatform
from jobs import hosts
from jobs.database.connection import CAUSES, is_away
from jobs.lease import work_as_holder
from jobs.queue import CLAIM_FUNCTION, Queue, host_queue
from jobs.secrets import HostKey, SecretBox
from jobs.settings import Settings
from webhooks.outbound import WebhookSender
from worker.borg_version import borg_version
from worker.budget import Budget
from worker.deliveries import Deliveries
from worker.log_cleaning import clean_logs
from worker.questions import Questions
from worker.recording import HostIdentity
from worker.reporter import Reporter
from worker.runs import HostRuns
from worker.schedule_ticker import ScheduleTicker
from worker.service_sweep import ServiceSweep
from worker.sole_worker import as_sole_worker
from worker.ssh_files import publish_missing_keys
from worker.wake_worker import WakeWorker

RECONNECT_S = 1.0
HOST_KEY_FILE = "host.key"
BUDGETS = {"slack": (50 / 60, 9.0, 3.0), "discord": (25.0, 25.0, 10.0)}
"""Calls a second, calls at once, and how many of these only ends may use: Slack's tier 3, about 50 a minute; half of
Discord's 50 a second, as a message of its own takes more than one call, and commands are answered beside.
"""
SPARE_THREADS, THREADS_A_JOB = 16, 2
UNLIMITED = (1000.0, 1000.0, 0.0)

_log = structlog.get_logger()


class WorkerRole(StrEnum):
    """`host` runs jobs, `service` shows and delivers them, `all` does both."""

    HOST = "host"
    SERVICE = "service"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker needs; `secrets` only with the roles `service` and `all`.

    Once `draining` is set it claims nothing any more, and returns when its runs have ended and are recorded.
    """

    settings: Settings
    queue: Queue
    role: WorkerRole
    platforms: Sequence[ChatPlatform]
    secrets: SecretBox | None
    replace_host: bool = False
    draining: asyncio.Event = field(default_factory=asyncio.Event)


async def run_worker(context: WorkerContext, ready: asyncio.Event) -> None:
    """Work until cancelled or drained; sets `ready` once the host's key is published. Raises
    `jobs.hosts.HostTakenError`.
    """
    threads = SPARE_THREADS + THREADS_A_JOB * context.settings.max_jobs
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
    runs = None if context.role is WorkerRole.SERVICE else await _host_runs(context)
    async with asyncio.TaskGroup() as tasks:
        services = [] if context.role is WorkerRole.HOST else [tasks.create_task(_serve(context))]
        ready.set()
        if runs is None:
            await context.draining.wait()
        else:
            await as_sole_worker(context.settings.data_dir, partial(_work, context, runs), context.draining)
        for service in services:
            service.cancel()


async def _work(context: WorkerContext, runs: HostRuns) -> None:
    """Run this host's jobs until cancelled or drained."""
    waker = _arq_worker(context, runs)
    async with asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(runs.run()), tasks.create_task(waker.async_run())]
        try:
            await context.draining.wait()
            await runs.drain()
        finally:
            for task in (*working, *waker.tasks.values()):  # arq would wait for what its tasks wait for
                task.cancel()


async def _host_runs(context: WorkerContext) -> HostRuns:
    settings = context.settings
    key = HostKey.load(settings.data_dir / HOST_KEY_FILE)
    version = await borg_version(settings.borg)
    register = partial(hosts.register, settings.host, key, max_jobs=settings.max_jobs, borg_version=version)
    await _once_the_database_answers(partial(register, replace=context.replace_host))
    return HostRuns(HostIdentity(settings, key))


async def _once_the_database_answers(work: Callable[[], Awaitable[None]]) -> None:
    """Do it, as often as the database is away, or locked by a process that is paused."""
    while True:
        try:
            return await work()
        except CAUSES as error:
            if not is_away(error):
                raise
            _log.warning("database_away", reason=str(error))
        await asyncio.sleep(RECONNECT_S)


def _arq_worker(context: WorkerContext, runs: HostRuns) -> WakeWorker:
    async def claim_jobs(ctx: dict[str, Any]) -> None:
        del ctx
        await runs.claim()
        await publish_missing_keys(context.settings)

    async def sweep(ctx: dict[str, Any]) -> None:
        del ctx
        await runs.sweep()

    # arq tells cron jobs apart by name over all queues: without the host in it only one host's sweep would run.
    every_minute = cron(sweep, name=f"sweep:{context.settings.host}", second=0, microsecond=0)
    queue_name = host_queue(context.settings.host)
    return WakeWorker(context.queue.redis, queue_name, [func(claim_jobs, name=CLAIM_FUNCTION)], [every_minute])


async def _serve(context: WorkerContext) -> None:
    """Show, deliver and sweep until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ServiceSweep(context.settings.host_lost_after).run())
        tasks.create_task(ScheduleTicker(context.queue).run())
        tasks.create_task(clean_logs())
        for platform in context.platforms:
            tasks.create_task(_report(context, platform))
        if context.secrets is not None:
            tasks.create_task(_deliver(context.settings, context.secrets))


async def _report(context: WorkerContext, platform: ChatPlatform) -> None:
    """Keep the platform's threads true; where it takes only so many calls, one worker of the fleet makes them all."""

    async def report() -> None:
        budget = Budget(*BUDGETS.get(platform.name, UNLIMITED))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Reporter(platform, context.queue, budget).run())
            tasks.create_task(Questions(platform, budget).run())

    if platform.name not in BUDGETS:
        await report()
        return

    # Named for the data directory: a worker that was killed and is started again need not wait for its own lease's end.
    holder = hashlib.sha256(f"{context.settings.host}:{context.settings.data_dir.resolve()}".encode()).hexdigest()[:32]
    await work_as_holder(f"reporter:{platform.name}", report, holder)


async def _deliver(settings: Settings, secrets: SecretBox) -> None:
    async with WebhookSender(allow_private_targets=settings.allow_private_webhook_targets) as sender:
        await Deliveries(sender, secrets, settings.base_url).run()
