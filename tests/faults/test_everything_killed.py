"""`locutus up` is killed with its Redis while borg is at work: what becomes of the run is what its thread shows."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass

import aiohttp
import pytest
from redis.asyncio import Redis

from jobs.models import Job
from tests.conftest import free_port, wait_until
from tests.fakes.instance import ADMIN_TOKEN
from tests.fakes.machine import (
    CHANNEL,
    PATIENCE_S,
    Worker,
    assert_completed_once,
    assert_next_job_runs,
    assert_not_completed,
    in_the_middle,
    kill_holders,
    let_claims_run_out,
    machine_in,
)

BACKUP = {"repository": "photos", "channel": f"slack:T1:{CHANNEL}"}


@pytest.fixture
async def machine(tmp_path, tmp_path_factory, redis_url, sqlite_url, opened_sqlite):
    """A machine whose worker is an `up`, with a Redis of its own."""
    async with machine_in(tmp_path, redis_url, sqlite_url, tmp_path_factory.getbasetemp() / "empty") as machine:
        del machine.environment["LOCUTUS_REDIS_URL"]
        machine.environment |= {"LOCUTUS_BIND": f"127.0.0.1:{free_port()}", "LOCUTUS_ADMIN_TOKEN": ADMIN_TOKEN}
        yield machine


@dataclass
class Up:
    worker: Worker
    redis_pid: int


async def start(machine, at=""):
    up = await machine.start("up", at)
    await up.says('"event": "up"')
    async with Redis(unix_socket_path=str(machine.directory / "data" / "redis.sock")) as redis:
        return Up(up, (await redis.info("server"))["process_id"])


async def call(machine, path, **body):
    """The answer of the API."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession(f"http://{machine.environment['LOCUTUS_BIND']}", headers=headers) as http:
        async with http.post(path, json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()


async def backup(machine):
    return await Job.get(id=(await call(machine, "/api/backup/run", **BACKUP))["job_id"])


async def all_dead(up):
    """See gateway, worker and Redis dead, whatever of them is left."""
    assert await up.worker.ended() == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):  # it goes with its owner
        os.kill(up.redis_pid, signal.SIGKILL)
    await let_claims_run_out()


async def backup_at_the_gate(machine, at=""):
    """An `up`, and a job of it whose borg is in the middle of the sources, as its thread shows."""
    machine.close_gate()
    up = await start(machine, at)
    return up, await in_the_middle(machine, await backup(machine))


def addresses(machine):
    return [message.ts for message in machine.slack.messages[CHANNEL]]


async def test_backup_that_ends_while_all_is_down_is_completed_with_its_real_figures_in_the_same_thread(machine):
    up, job = await backup_at_the_gate(machine)
    thread = addresses(machine)
    up.worker.signal(signal.SIGKILL)
    await all_dead(up)
    machine.open_gate()
    await asyncio.to_thread(wait_until, lambda: machine.run(job).exit() is not None, PATIENCE_S)
    assert (await Job.get(id=job.id)).status == "running"
    await start(machine)
    await assert_completed_once(machine, job)
    assert addresses(machine) == thread
    await assert_next_job_runs(machine, await backup(machine))


async def test_cancel_that_was_asked_for_as_all_died_ends_borg_after_the_restart(machine):
    up, job = await backup_at_the_gate(machine, "cancelling=SIGKILL")
    with contextlib.suppress(aiohttp.ClientError):
        await call(machine, f"/api/jobs/{job.id}/cancel")
    await all_dead(up)
    assert machine.run(job).borg_alive()
    await start(machine)
    job = await assert_not_completed(machine, job, "cancelled")
    machine.open_gate()
    assert job.cancel_requested_by == "token:admin"
    assert any("token admin" in str(message.content) for message in machine.slack.messages[CHANNEL])
    await assert_next_job_runs(machine, await backup(machine))


async def test_run_that_a_reboot_ended_is_failed_and_the_next_backup_works(machine):
    up, job = await backup_at_the_gate(machine)
    up.worker.signal(signal.SIGKILL)
    await asyncio.to_thread(kill_holders, machine.run(job))
    await all_dead(up)
    machine.open_gate()
    await start(machine)
    job = await assert_not_completed(machine, job, "failed")
    assert job.error_code == "worker_restarted"
    assert all("Worker restarted" in machine.thread(job)[part][0] for part in ("card", "progress"))
    await assert_next_job_runs(machine, await backup(machine))
