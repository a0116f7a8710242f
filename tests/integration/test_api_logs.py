"""A job's log is streamed as it grows, ends with the job, and is never empty."""

import asyncio

import pytest

from jobs import lifecycle, log_store, queue
from jobs.claim import Claimant, claim_next
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.view import JobStatus
from tests.fakes.gateway import HOST, application, served, started
from webhooks.api import job_logs, jobs

CLAIMANT = Claimant(HOST, "d1", 4)


@pytest.fixture
async def api(opened, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened, tmp_path))
    await api.repository("photos")
    return api


async def run(api):
    return (await api.post("/api/backup/run", {"repository": "photos"})).json["job_id"]


async def append(job_id, text):
    at = await log_store.position(job_id)
    await unit(lambda: log_store.append(job_id, at, text))
    await queue.ring(job_id)


async def end(job_id, status=JobStatus.COMPLETED, message=None):
    await unit(lambda: lifecycle.end(job_id, 1, Ending(status, error_message=message)))


async def quiet(opened):
    """Until no handler listens any more."""
    async with asyncio.timeout(10):
        while opened._ears:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", ["/api/jobs/{}/logs", "/api/backup/logs/{}"])
async def test_log_arrives_while_the_job_runs_and_ends_with_it(api, opened, path):
    job_id = await run(api)
    async with asyncio.timeout(20), api.open("GET", path.format(job_id)) as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        await claim_next(CLAIMANT)
        for number in range(20):
            line = f"line {number} é\n".encode()
            await append(job_id, line)
            assert await answer.content.readexactly(len(line)) == line
        await append(job_id, b"the last line\n")
        await end(job_id)
        assert await answer.read() == b"the last line\n"
    await quiet(opened)


async def test_long_log_comes_whole_with_the_dropped_middle_said(api):
    job_id = await run(api)
    await claim_next(CLAIMANT)
    for number in range(80):
        await append(job_id, bytes([65 + number % 26]) * log_store.CHUNK_BYTES)
    await end(job_id)
    text = (await api.get(f"/api/jobs/{job_id}/logs")).text
    assert text.count("bytes of the log were dropped here") == 1
    assert text.startswith("A")
    assert len(text) > 64 * log_store.CHUNK_BYTES


async def test_lost_bell_costs_only_a_delay(api, opened, monkeypatch):
    monkeypatch.setattr(job_logs, "LOOK_AGAIN_S", 0.05)
    job_id = await run(api)
    await claim_next(CLAIMANT)
    async with asyncio.timeout(20), api.open("GET", f"/api/jobs/{job_id}/logs") as answer:
        await unit(lambda: log_store.append(job_id, log_store.Position(), b"one\n"))
        assert await answer.content.readexactly(4) == b"one\n"
        await end(job_id)
        assert await answer.read() == b""


async def test_log_without_follow_is_what_there_is_now(api):
    job_id = await run(api)
    assert "is pending and has logged nothing" in (await api.get(f"/api/jobs/{job_id}/logs?follow=false")).text
    await append(job_id, b"one\n")
    assert (await api.get(f"/api/jobs/{job_id}/logs?follow=false")).text == "one\n"


async def test_log_of_a_job_that_never_ran_says_why_it_is_empty(api):
    job_id = await run(api)
    await claim_next(CLAIMANT)
    await end(job_id, JobStatus.FAILED, "The host has not been heard of for 24 h.")
    text = (await api.get(f"/api/backup/logs/{job_id}")).text
    assert text.endswith("is failed and has logged nothing: The host has not been heard of for 24 h.\n")


async def test_client_that_leaves_frees_the_handler(opened_sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr(job_logs, "LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(jobs, "LOOK_AGAIN_S", 0.05)
    async with served(opened_sqlite, tmp_path) as api:
        await api.repository("photos")
        job_id = await run(api)
        await append(job_id, b"one\n")
        async with api.open("GET", f"/api/backup/logs/{job_id}") as answer:
            await answer.content.readexactly(4)
            answer.close()
        waiting = asyncio.create_task(api.get(f"/api/jobs/{job_id}?wait=60"))
        async with asyncio.timeout(10):
            while not opened_sqlite._ears:
                await asyncio.sleep(0.01)
        waiting.cancel()
        await quiet(opened_sqlite)


async def test_many_followers_each_get_the_whole_log(api, opened):
    job_id = await run(api)
    await claim_next(CLAIMANT)
    async with asyncio.timeout(30):
        following = [asyncio.create_task(api.get(f"/api/jobs/{job_id}/logs")) for _ in range(10)]
        while len(opened._ears) < len(following):
            await asyncio.sleep(0.01)
        for number in range(30):
            await append(job_id, f"{number}\n".encode())
        await end(job_id)
        texts = {reply.text for reply in await asyncio.gather(*following)}
    assert texts == {"".join(f"{number}\n" for number in range(30))}
