"""A job's log is streamed as it grows, ends with the job, and is never empty."""

import asyncio

import pytest

from jobs import lifecycle, log_retention, log_store, queue
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.log_retention import drop_old_logs
from jobs.models import Job, LogChunk
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


async def end(job_id, status=JobStatus.COMPLETED, code=None, message=None):
    await unit(lambda: lifecycle.end(job_id, 1, Ending(status, error_code=code, error_message=message)))


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
    await end(job_id, JobStatus.FAILED, lifecycle.HOST_LOST, "The host has not been heard of for 24 h.")
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


def events_of(text):
    """What a browser's EventSource makes of the stream: (id, event, data)."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = [line.partition(": ")[::2] for line in block.split("\n")]
        data = "\n".join(value for name, value in fields if name == "data")
        known = dict(fields)
        found.append((known.get("id"), known.get("event", "message"), data))
    return found


async def test_log_as_events_goes_on_where_a_client_was_cut_off_and_says_the_end(api):
    job_id = await run(api)
    await claim_next(CLAIMANT)
    path, accept = f"/api/jobs/{job_id}/logs", {"Accept": "text/event-stream"}
    await append(job_id, b"one\ntwo\nthr")
    first, *_ = events_of((await api.get(f"{path}?follow=false", headers=accept)).text)
    assert first[2] == "one\ntwo"
    await append(job_id, b"ee\nfour\n")
    await append(job_id, b"x" * 5_000 + b"\n")
    await end(job_id)
    reply = await api.get(path, headers=accept | {"Last-Event-ID": first[0]})
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *rest, last = events_of(reply.text)
    assert "\n".join(data for _, _, data in rest).split("\n") == ["three", "four", "x" * 5_000]
    assert last[1:] == ("end", "completed")
    whole = events_of((await api.get(path, headers=accept | {"Last-Event-ID": "nonsense"})).text)
    assert whole[0][2].startswith("one\ntwo\nthree")
    [again] = events_of((await api.get(path, headers=accept | {"Last-Event-ID": rest[-1][0]})).text)
    assert again == last


async def test_old_logs_go_and_the_newest_of_each_repository_stays(api, monkeypatch):
    monkeypatch.setattr(log_retention, "AT_ONCE", 2)
    await api.repository("mail")
    of_mail = (await api.post("/api/backup/run", {"repository": "mail"})).json["job_id"]
    waiting = await run(api)
    others = [await run(api) for _ in range(7)]
    for job_id in (of_mail, waiting, *others):
        await append(job_id, b"a line\n")
    await Job.filter(id__in=[of_mail, *others]).update(started_at=now(), completed_at=now(), status="completed")
    await api.put("/api/settings", {"retention_jobs": 2})
    assert await drop_old_logs() == 5
    assert await drop_old_logs() == 0
    kept = sorted(set(await LogChunk.all().values_list("job_id", flat=True)))
    assert kept == [of_mail, waiting, *others[-2:]]
    text = (await api.get(f"/api/jobs/{others[0]}/logs")).text
    assert text == f"The log of job #{others[0]} (backup, completed) is not kept any more (`retention_jobs`).\n"
