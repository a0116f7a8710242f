"""Events over WebSockets: everything that happens, one job until it has ended, to who may see it, and nothing twice."""

import asyncio
from functools import partial

import aiohttp
import pytest

from jobs import lifecycle, outbox, queue
from jobs.access import Grant, Principal, Role
from jobs.clock import now
from jobs.database.unit import unit
from jobs.events import EVENT_MODELS, BackupOverdue, HostSilent
from jobs.lifecycle import Ending, NewJob
from jobs.models import EventEntry
from jobs.view import JobStatus, JobView, Progress
from tests.fakes.gateway import application, started
from webhooks.api import events
from webhooks.api.events import OVERLAP, Reading


@pytest.fixture
async def api(opened, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened, tmp_path))


async def create(repository="photos"):
    new = NewJob(kind="backup", host="a", requested_by="x", origin="cli", repository_name=repository)
    return await unit(partial(lifecycle.create, new))


async def start(job):
    return await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="photos-1"))


async def end(job, status=JobStatus.COMPLETED):
    return await unit(partial(lifecycle.end, job.id, 1, Ending(status)))


async def overdue(repository):
    data = BackupOverdue(repository=repository, last_backup=None, expected_by=now())
    await unit(partial(outbox.publish, "backup.overdue", data, repository=repository))


async def types(socket, count):
    async with asyncio.timeout(10):
        return [(await socket.receive_json())["type"] for _ in range(count)]


async def test_job_is_followed_from_its_state_to_its_end(api):
    job = await create()
    async with api.client.ws_connect(f"/api/jobs/{job.id}/events", headers=api.headers) as socket:
        first = await socket.receive_json()
        assert (first["type"], JobView.model_validate(first["data"]).status) == ("job.updated", JobStatus.PENDING)
        assert await types(socket, 0) == []
        job = await start(job)
        assert set(await types(socket, 2)) == {"job.updated", "job.started"}
        await unit(partial(lifecycle.report, job.id, 1, Progress(nfiles=7)))
        assert (await socket.receive_json())["data"]["progress"]["nfiles"] == 7
        await end(job)
        last = [await socket.receive_json() for _ in range(2)]
        assert {message["type"] for message in last} == {"job.updated", "job.completed"}
        assert all(message["data"]["logs_url"].startswith("http") for message in last)
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == aiohttp.WSCloseCode.OK


async def test_job_that_has_ended_is_told_as_it_is_and_closed(api):
    job = await start(await create())
    await end(job, JobStatus.FAILED)
    async with api.client.ws_connect(f"/api/jobs/{job.id}/events", headers=api.headers) as socket:
        assert (await socket.receive_json())["data"]["status"] == "failed"
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_everything_is_told_once_in_order_and_again_from_where_one_was(api):
    async with api.client.ws_connect("/api/events", headers=api.headers) as socket:
        job = await start(await create())
        await overdue("photos")
        data = HostSilent(host="nas", silent_since=now())
        await unit(partial(outbox.publish, "host.silent", data, repository=None))
        await end(job)
        told = []
        async with asyncio.timeout(10):
            while len(told) < 4:
                message = await socket.receive_json()
                told += [message] if "id" in message else []
    expected = ["job.started", "backup.overdue", "host.silent", "job.completed"]
    assert [message["type"] for message in told] == expected
    for message in told:
        EVENT_MODELS[message["type"]].model_validate(message)
    async with api.client.ws_connect(f"/api/events?since={told[1]['id']}", headers=api.headers) as socket:
        assert await types(socket, 2) == expected[2:]


async def test_progress_of_every_job_is_told_without_an_event(opened, api):
    job = await start(await create())
    with opened.ear() as ear:
        assert await ear.wait(5)  # from now on no ring is lost
    async with api.client.ws_connect("/api/events", headers=api.headers) as socket:
        await unit(partial(lifecycle.report, job.id, 1, Progress(nfiles=3)))
        shown = None  # the bell that rang for its start may come only now
        async with asyncio.timeout(10):
            while shown != 3:
                message = await socket.receive_json()
                assert (message["type"], message["data"]["id"]) == ("job.updated", job.id)
                shown = message["data"]["progress"]["nfiles"]


async def test_who_may_see_one_repository_hears_of_that_alone(opened_sqlite, aiohttp_client, tmp_path):
    limited = Principal("local:x", (Grant(Role.VIEW, repositories=["photos"]),))
    client = (await started(aiohttp_client, application(opened_sqlite, tmp_path, local=limited))).client
    async with client.ws_connect("/api/events") as socket:
        await start(await create("mail"))
        await overdue("mail")
        await unit(partial(outbox.publish, "host.silent", HostSilent(host="n", silent_since=now()), repository=None))
        await overdue("photos")
        assert (await socket.receive_json(timeout=10))["data"]["repository"] == "photos"
    assert (await client.get("/api/jobs/1/events")).status == 403


@pytest.mark.parametrize("path", ["/api/events", "/api/jobs/1/events"])
async def test_socket_is_closed_when_its_token_is_removed_and_spends_nothing_of_its_rate(api, monkeypatch, path):
    monkeypatch.setattr(events, "LOOK_AGAIN_S", 0.01)
    job = await start(await create())
    token = (await api.post("/api/tokens", {"name": "one", "role": "view", "rate_limit": "1/h"})).json
    async with api.client.ws_connect(path, headers=api.with_token(token["token"]).headers) as socket:
        for number in range(3):
            await unit(partial(lifecycle.report, job.id, 1, Progress(nfiles=number)))
            while (await socket.receive_json(timeout=10))["data"]["progress"]["nfiles"] != number:
                pass
        assert (await api.delete(f"/api/tokens/{token['id']}")).status == 204
        async with asyncio.timeout(10):
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_request_that_is_no_websocket_is_refused(api):
    assert (await api.get("/api/events")).status == 400
    assert (await api.get("/api/jobs/99/events")).status == 404


async def test_event_that_was_committed_late_is_not_missed(opened_sqlite):
    for number in (1, 2, 4, 5):
        await EventEntry.create(id=number, type="job.started", payload="{}")
    reading = Reading(0, EventEntry.all())
    assert [entry.id for entry in await reading.unread()] == [1, 2, 4, 5]
    await EventEntry.create(id=3, type="job.started", payload="{}")
    await EventEntry.create(id=6, type="job.started", payload="{}")
    assert [entry.id for entry in await reading.unread()] == [3, 6]
    assert list(await reading.unread()) == []
    await EventEntry.create(id=6 + OVERLAP, type="job.started", payload="{}")
    assert len(await reading.unread()) == 1
    assert len(reading._seen) < OVERLAP


async def test_ear_says_which_jobs_it_heard_of(redis_url):
    async with queue.open_queue(redis_url) as here:
        with here.ear() as ear:
            assert await ear.wait(5)
            await here.publish(7)
            assert await ear.wait(5)
            assert ear.heard == {7}
