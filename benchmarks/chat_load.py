"""Chat under load: slash commands all at once, and a hundred threads that one workspace's limits must suffice for."""

import asyncio
import contextlib
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from benchmarks.running import SIGNING_SECRET, Running, locutus_up
from bot.commands import COMMANDS
from bot.discord.command_tree import registration
from bot.slack.client import SlackPlatform
from jobs import lifecycle
from jobs.clock import now
from jobs.database.connection import database, migrate
from jobs.database.unit import unit
from jobs.lifecycle import Ending, NewJob
from jobs.models import Job
from jobs.queue import Queue, open_queue
from jobs.view import JobStatus, Progress
from tests.fakes.discord import GUILD, USER, FakeDiscord
from tests.fakes.slack import UPDATE, FakeSlack, Posted, slash_command
from worker.app import BUDGETS
from worker.budget import Budget
from worker.reporter import Reporter

ASKED, WITHIN_S = 500, 10.0
JOBS, CHANNELS = 100, 10
WATCHED_S, ENDS_A_MINUTE = 300.0, 15
TICK_S = 2.0


async def commands() -> dict[str, Any]:
    """How long 500 slash commands on one gateway, half of them Slack's, half Discord's, wait for their acknowledgement.

    They come within ten seconds; milliseconds.
    """
    discord = FakeDiscord()
    discord.commands = [registration(COMMANDS)]
    async with (
        _redis() as redis,
        locutus_up(
            "gateway", LOCUTUS_REDIS_URL=redis, LOCUTUS_SECRET_KEY="k" * 40, DISCORD_PUBLIC_KEY=discord.public_key
        ) as running,
    ):
        for subject in ("slack:T1:U1", f"discord:{GUILD}:{USER}"):
            await running.call("POST", "/api/role-bindings", json={"subject": subject, "role": "operate"})
        place = {"location": "/srv/photos", "source_directories": ["/home"], "encryption": "none", "host": "nas"}
        await running.call("POST", "/api/repositories", json={"name": "photos", **place})
        waited = await asyncio.gather(*(_command(running.http, discord, number) for number in range(ASKED)))
        accepted = await _accepted(running)
    percentiles = statistics.quantiles(waited, n=100)
    return {
        "commands": ASKED, "within_s": WITHIN_S, "lost": ASKED - accepted,
        "median_ms": round(percentiles[49], 1), "p99_ms": round(percentiles[98], 1),
    }  # fmt: skip


async def _command(http: aiohttp.ClientSession, discord: FakeDiscord, number: int) -> float:
    await asyncio.sleep(number * WITHIN_S / ASKED)
    path, (headers, body) = _of_discord(discord) if number % 2 else _of_slack(number)
    sent = time.monotonic()
    async with http.post(path, data=body, headers=headers) as answer:
        answer.raise_for_status()
        await answer.read()
    return (time.monotonic() - sent) * 1000


def _of_slack(number: int) -> tuple[str, tuple[dict[str, str], bytes]]:
    return "/slack/events", slash_command(SIGNING_SECRET, "run photos", trigger_id=f"load-{number}")


def _of_discord(discord: FakeDiscord) -> tuple[str, tuple[dict[str, str], bytes]]:
    data = discord.command("run", repository="photos")
    return "/discord/interactions", discord.signed(discord.payload(2, data))


async def _accepted(running: Running) -> int:
    found, cursor = 0, None
    while True:
        query = {"kind": "backup", "limit": "200"} | ({"cursor": cursor} if cursor else {})
        page = await running.call("GET", "/api/jobs", params=query)
        found, cursor = found + len(page["items"]), page["next_cursor"]
        if cursor is None:
            return found


@contextlib.asynccontextmanager
async def _redis() -> AsyncIterator[str]:
    directory = Path(tempfile.mkdtemp(prefix="locutus-bench-"))
    socket = directory / "redis.sock"
    arguments = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory))
    server = await asyncio.create_subprocess_exec("redis-server", *arguments, stdout=asyncio.subprocess.DEVNULL)
    while not socket.exists():
        await asyncio.sleep(0.05)
    yield f"unix://{socket}"
    server.terminate()
    await server.wait()
    shutil.rmtree(directory)


def _silent() -> None:
    """Without a Redis every bell is lost, which is no news here: the reporter looks once a second all the same."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


async def threads() -> dict[str, Any]:
    """100 running jobs in 10 channels, posted before the clock starts, watched for 5 minutes at 50 edits a minute."""
    async with _workspace() as (slack, jobs):
        posted = {job.id: _edits(slack, job.id) for job in jobs}
        begun = time.monotonic()
        ended: dict[int, float] = {}
        while (at := time.monotonic() - begun) < WATCHED_S:
            await asyncio.gather(*(_tick(job, at) for job in jobs if job.id not in ended))
            while len(ended) < at * ENDS_A_MINUTE / 60 and len(ended) < len(jobs):
                job = jobs[len(ended)]
                ended[job.id] = time.monotonic()
                await _end(job)
            await asyncio.sleep(TICK_S)
        await _all_final(slack, ended)
        late = {part: _lateness(slack, ended, part) for part in ("card", "progress")}
        moved = sum(_edits(slack, job.id) > posted[job.id] for job in jobs)
        refused = sum(call.status == 429 for call in slack.calls)
    return {
        "jobs": JOBS, "ended": len(ended), "threads_edited": moved, "refused_calls": refused,
        "card_final_after_s": round(max(late["card"]), 1), "progress_final_after_s": round(max(late["progress"]), 1),
    }  # fmt: skip


async def burst() -> dict[str, Any]:
    """100 running jobs end at once: how long until every message is final, and what else was sent meanwhile."""
    async with _workspace() as (slack, jobs):
        begun = time.monotonic()
        await asyncio.gather(*map(_end, jobs))
        ended = {job.id: begun for job in jobs}
        await _all_final(slack, ended)
        took_s = time.monotonic() - begun
        since = [call for call in slack.called(UPDATE) if call.at > begun and call.status == 200]
        other = [call for call in since if _status(call.arguments) == "running"]
    return {
        "jobs": JOBS, "all_final_after_s": round(took_s, 1), "edits_a_minute": round(len(since) / took_s * 60, 1),
        "not_final_meanwhile": len(other),
    }  # fmt: skip


def _status(arguments: dict[str, Any]) -> str:
    return str(arguments["metadata"]["event_payload"]["status"])


@contextlib.asynccontextmanager
async def _workspace() -> AsyncIterator[tuple[FakeSlack, list[Job]]]:
    """A reporter with the budget of the product, before a workspace with Slack's limits; 100 threads are posted."""
    _silent()
    directory = Path(tempfile.mkdtemp(prefix="locutus-bench-"))
    url = f"sqlite://{directory}/locutus.db"
    await migrate(url)
    channels = [f"C{number}" for number in range(CHANNELS)]
    fake = FakeSlack(channels=tuple(channels))
    async with fake as slack, database(url), _deaf_queue() as queue, _bot(slack) as platform:
        limits, slack.limits = slack.limits, {}
        jobs = [await _running(channels[number % CHANNELS]) for number in range(JOBS)]
        boundless = Reporter(platform, queue, Budget(1000.0, 1000.0, 0.0))
        await _run_until(boundless, lambda: _posted(slack) == 2 * JOBS)
        slack.limits = limits
        reporting = asyncio.create_task(Reporter(platform, queue, Budget(*BUDGETS["slack"])).run())
        yield slack, jobs
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
    shutil.rmtree(directory)


def _bot(slack: FakeSlack) -> SlackPlatform:
    return SlackPlatform(slack.token, slack.base_url)


@contextlib.asynccontextmanager
async def _deaf_queue() -> AsyncIterator[Queue]:
    async with open_queue("unix:///nonexistent/redis.sock") as queue:
        yield queue


async def _running(channel: str) -> Job:
    new = NewJob("backup", "nas", "token:bench", "api", repository_name="photos", channel=f"slack:T1:{channel}")
    job = await unit(partial(lifecycle.create, new))
    return await unit(partial(lifecycle.start, job, data_directory_id="bench", archive_name=f"photos-{job.id}"))


async def _tick(job: Job, at_s: float) -> None:
    progress = Progress(nfiles=int(at_s * 10), original_size=int(at_s * 1e8), last_activity_at=now())
    await unit(partial(lifecycle.report, job.id, job.attempt, progress))


async def _end(job: Job) -> None:
    await unit(partial(lifecycle.end, job.id, job.attempt, Ending(JobStatus.COMPLETED)))


async def _run_until(reporter: Reporter, condition: Callable[[], bool]) -> None:
    running = asyncio.create_task(reporter.run())
    while not condition():
        await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _messages(slack: FakeSlack, job_id: int) -> list[Posted]:
    found = [message for channel in slack.messages.values() for message in channel]
    return [message for message in found if message.metadata["event_payload"]["job_id"] == job_id]


def _posted(slack: FakeSlack) -> int:
    return sum(map(len, slack.messages.values()))


def _edits(slack: FakeSlack, job_id: int) -> int:
    return sum(len(message.edits) for message in _messages(slack, job_id))


async def _all_final(slack: FakeSlack, ended: dict[int, float]) -> None:
    while not all(
        message.metadata["event_payload"]["status"] == "completed"
        for job_id in ended
        for message in _messages(slack, job_id)
    ):
        await asyncio.sleep(0.5)


def _lateness(slack: FakeSlack, ended: dict[int, float], part: str) -> list[float]:
    """Seconds from each job's end to the edit that showed it."""
    return [
        next(at for at, content in message.edits if content["metadata"]["event_payload"]["status"] == "completed") - end
        for job_id, end in ended.items()
        for message in _messages(slack, job_id)
        if message.metadata["event_payload"]["part"] == part
    ]
