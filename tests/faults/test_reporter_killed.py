"""The worker that speaks to Slack for a fleet is killed: another goes on with the same threads, within its lease."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from jobs import lifecycle
from jobs.database.connection import database
from jobs.database.unit import unit
from jobs.lease import LASTS, LOOK_EVERY_S
from jobs.lifecycle import Ending, NewJob
from jobs.models import ChatMessage, Lease
from jobs.view import JobStatus, Progress
from tests.fakes.instance import SECRET_KEY, until
from tests.fakes.slack import FakeSlack

ROOT = Path(__file__).parents[2]
LEASE = "reporter:slack"
SLACK_TAKES_S = 5.0


@contextlib.contextmanager
def service_worker(directory, name, variables):
    """A service worker in a process of its own."""
    (directory / name).mkdir(mode=0o700)
    environment = {**variables, "LOCUTUS_DATA_DIR": str(directory / name), "LOCUTUS_HOST": name}
    argv = [sys.executable, "-m", "cli", "worker", "--role", "service"]
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


async def holder():
    lease = await Lease.get_or_none(name=LEASE)
    return lease.holder if lease else None


async def until_it_is_held(by_another_than=None):
    async with asyncio.timeout(60):
        while (held := await holder()) in {None, by_another_than}:
            await asyncio.sleep(0.05)
    return held


async def until_it_is_recorded():
    """A worker that is killed between a call and its record leaves a claim, which lasts longer than a lease."""
    async with asyncio.timeout(30):
        while await ChatMessage.filter(platform="slack", shown_digest__isnull=True).exists():
            await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_another_worker_goes_on_with_the_thread(tmp_path, sqlite_url, redis_url):
    async with FakeSlack(channels=("C1",)) as slack, database(sqlite_url):
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LOCUTUS_DATABASE_URL": sqlite_url,
            "LOCUTUS_REDIS_URL": redis_url, "LOCUTUS_SECRET_KEY": SECRET_KEY, "SLACK_BOT_TOKEN": slack.token,
            "LOCUTUS_SLACK_API_URL": slack.base_url,
        }  # fmt: skip
        with service_worker(tmp_path, "first", variables) as first:
            killed = await until_it_is_held()
            with service_worker(tmp_path, "second", variables):
                new = NewJob("backup", "host", "token:test", "api", repository_name="photos", channel="slack:T1:C1")
                job = await unit(partial(lifecycle.create, new))
                await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="photos-1"))
                await until(lambda: len([each for each in slack.messages["C1"] if "running" in each.text]) == 2)
                await until_it_is_recorded()
                first.kill()
                at_s = time.monotonic()
                await unit(partial(lifecycle.end, job.id, 1, Ending(JobStatus.COMPLETED, Progress(nfiles=1))))
                await until(lambda: all("#1 completed" in each.text for each in slack.messages["C1"]), timeout_s=90)
                took_s = time.monotonic() - at_s
                assert await until_it_is_held(by_another_than=killed)
        card, progress = slack.messages["C1"]
        assert progress.thread_ts == card.ts
        assert len(slack.called("chat.postMessage")) == 2
        assert took_s < LASTS.total_seconds() + LOOK_EVERY_S + SLACK_TAKES_S, took_s
