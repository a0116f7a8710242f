"""The worker: one arq worker on its host's queue, the runs of this host, and the service tasks, as its role says."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from arq.cron import cron
from arq.worker import func

from bot.platform import ChatPlatform
from jobs import hosts
from jobs.queue import CLAIM_FUNCTION, Queue, host_queue
from jobs.secrets import HostKey, SecretBox
from jobs.settings import Settings
from webhooks.outbound import WebhookSender
from worker.borg_version import borg_version
from worker.budget import Budget
from worker.deliveries import Deliveries
from worker.recording import HostIdentity
from worker.reporter import Reporter
from worker.runs import HostRuns
from worker.sole_worker import sole_worker
from worker.wake_worker import WakeWorker

HOST_KEY_FILE = "host.key"
BUDGETS = {"slack": (50 / 60, 12.0, 3.0)}
"""Calls a second, calls at once, and how many of these only ends may use: Slack's tier 3, about 50 a minute."""
SPARE_THREADS, THREADS_A_JOB = 16, 2
UNLIMITED = (1000.0, 1000.0, 0.0)


class WorkerRole(StrEnum):
    """`host` runs jobs, `service` shows and delivers them, `all` does both."""

    HOST = "host"
    SERVICE = "service"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker needs; `secrets` only with the roles `service` and `all`."""

    settings: Settings
    queue: Queue
    role: WorkerRole
    platforms: Sequence[ChatPlatform]
    secrets: SecretBox | None
    replace_host: bool = False


async def run_worker(context: WorkerContext, ready: asyncio.Event) -> None:
    """Work until cancelled; sets `ready` once the host's key is published. Raises `jobs.hosts.HostTakenError`."""
    threads = SPARE_THREADS + THREADS_A_JOB * context.settings.max_jobs
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
    async with asyncio.TaskGroup() as tasks:
        if context.role is not WorkerRole.SERVICE:
            tasks.create_task(_work(context, await _host_runs(context)))
        if context.role is not WorkerRole.HOST:
            _start_services(context, tasks)
        ready.set()


async def _work(context: WorkerContext, runs: HostRuns) -> None:
    async with sole_worker(context.settings.data_dir), asyncio.TaskGroup() as tasks:
        tasks.create_task(runs.run())
        tasks.create_task(_arq_worker(context, runs).async_run())


async def _host_runs(context: WorkerContext) -> HostRuns:
    settings = context.settings
    key = HostKey.load(settings.data_dir / HOST_KEY_FILE)
    version = await borg_version(settings.borg)
    await hosts.register(
        settings.host, key, max_jobs=settings.max_jobs, borg_version=version, replace=context.replace_host
    )
    return HostRuns(HostIdentity(settings, key))


def _arq_worker(context: WorkerContext, runs: HostRuns) -> WakeWorker:
    async def claim_jobs(ctx: dict[str, Any]) -> None:
        del ctx
        await runs.claim()

    async def sweep(ctx: dict[str, Any]) -> None:
        del ctx
        await runs.sweep()

    # arq tells cron jobs apart by name over all queues: without the host in it only one host's sweep would run.
    every_minute = cron(sweep, name=f"sweep:{context.settings.host}", second=0, microsecond=0)
    queue_name = host_queue(context.settings.host)
    return WakeWorker(context.queue.redis, queue_name, [func(claim_jobs, name=CLAIM_FUNCTION)], [every_minute])


def _start_services(context: WorkerContext, tasks: asyncio.TaskGroup) -> None:
    for platform in context.platforms:
        rate, capacity, reserve = BUDGETS.get(platform.name, UNLIMITED)
        tasks.create_task(Reporter(platform, context.queue, Budget(rate, capacity, reserve)).run())
    if context.secrets is not None:
        tasks.create_task(_deliver(context.settings, context.secrets))


async def _deliver(settings: Settings, secrets: SecretBox) -> None:
    async with WebhookSender(allow_private_targets=settings.allow_private_webhook_targets) as sender:
        await Deliveries(sender, secrets, settings.base_url).run()
