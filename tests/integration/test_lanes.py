"""Rows that mean one borg repository share its lane, however differently they spell where it is."""

import asyncio
from functools import partial
from itertools import pairwise

import pytest

from jobs import lanes, lifecycle
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import ConflictError
from jobs.lifecycle import Ending, NewJob
from jobs.models import Host, Job, Repository
from jobs.submit import JobRequest, submit
from jobs.view import JobStatus
from jobs.waiting import standing_of
from tests.fakes.gateway import application
from tests.fakes.gateway import started as served
from tests.fakes.instance import ADMIN, instance, repository_row, settings_for

NAS = Claimant("test-host", "d", 9)
PHOTOS, MUSIC = "1" * 64, "2" * 64


@pytest.fixture
async def host(opened):
    return await Host.create(name="test-host", data_directory_id="d", last_seen_at=now())


async def row(name, **columns):
    return await repository_row(name, f"/srv/{name}", [], **columns)


async def pending(repository):
    new = NewJob(
        "backup", "test-host", "x", "cli", repository.id, repository.name, lane=(await lane_of(repository)), priority=0
    )
    return await unit(partial(lifecycle.create, new))


async def running(repository):
    job = await pending(repository)
    assert (await claim_next(NAS)).id == job.id
    return job


async def lane_of(repository):
    return (await Repository.get(id=repository.id)).lane


async def unite(repository, borg_id=PHOTOS):
    await unit(partial(lanes.unite, repository.id, borg_id))


async def held(*jobs):
    return [((await Job.get(id=job.id)).lane, (await Job.get(id=job.id)).running_lock) for job in jobs]


async def test_rows_of_one_borg_repository_get_the_lane_of_the_oldest(host):
    one, two, three, other = [await row(name) for name in ("one", "two", "three", "other")]
    await unite(other, MUSIC)
    for repository in (three, two, one):
        await unite(repository)
    assert [await lane_of(repository) for repository in (one, two, three, other)] == ["one", "one", "one", "other"]
    assert await Repository.filter(borg_id=PHOTOS).count() == 3


async def test_rows_that_shared_a_lane_before_stay_together(host):
    one, two, twin = await row("one"), await row("two"), await row("twin", lane="two")
    await unite(one)
    await unite(two)
    assert {await lane_of(repository) for repository in (one, two, twin)} == {"one"}


async def test_jobs_that_wait_follow_and_run_one_at_a_time(host):
    one, two = await row("one"), await row("two")
    jobs = [await pending(repository) for repository in (one, two, one, two)]
    await unite(one)
    await unite(two)
    assert await held(*jobs) == [("one", None)] * 4
    for job in jobs:
        claimed = await claim_next(NAS)
        assert claimed.id == job.id
        assert await claim_next(NAS) is None
        await unit(partial(lifecycle.end, job.id, 1, Ending(JobStatus.COMPLETED)))


async def test_run_in_the_lane_that_is_given_up_takes_the_other_along(host):
    one, two = await row("one"), await row("two")
    await unite(one)
    ran = await running(two)
    waiting = await pending(one)
    await unite(two)
    assert await held(ran) == [("one", "one")]
    assert await claim_next(NAS) is None
    assert (await standing_of(waiting)).waits_for == f"#{ran.id} (backup, running)"
    await unit(partial(lifecycle.end, ran.id, 1, Ending(JobStatus.COMPLETED)))
    assert (await claim_next(NAS)).id == waiting.id


async def test_run_that_finds_the_lane_taken_keeps_its_own(host):
    one, two = await row("one"), await row("two")
    await unite(one)
    first, second = await running(one), await running(two)
    await unite(two)
    assert await held(first, second) == [("one", "one"), ("two", "two")]
    await unit(partial(lifecycle.end, second.id, 1, Ending(JobStatus.COMPLETED)))
    await pending(two)
    assert await claim_next(NAS) is None


@pytest.mark.parametrize("_", range(4))
async def test_what_is_asked_for_and_claimed_meanwhile_is_in_the_lane_that_it_holds(host, _):
    one, two = await row("one"), await row("two")
    await unite(one)
    for repository in (two, one, two):
        await pending(repository)
    asked = [submit(JobRequest("backup", ADMIN, "api", name)) for name in ("two", "one", "two", "one", "two")]
    claims = [claim_next(NAS) for _ in range(5)]
    done = await asyncio.gather(*asked[:2], *claims[:2], unite(two), *asked[2:], *claims[2:], return_exceptions=True)
    assert [error for error in done if isinstance(error, Exception) and not isinstance(error, ConflictError)] == []
    for job in await Job.all():
        assert job.status == JobStatus.RUNNING or job.lane == "one"
        assert job.running_lock == (job.lane if job.status == JobStatus.RUNNING else None)
    running_jobs = await Job.filter(status=JobStatus.RUNNING).order_by("running_lock")
    assert [job.running_lock for job in running_jobs] in (["one"], ["one", "two"])


async def test_step_of_a_chain_is_in_the_lane_of_a_row_that_is_united_as_it_is_made(host, monkeypatch):
    one, two = await row("one"), await row("two")
    await unite(one)
    job = await running(two)
    await Job.filter(id=job.id).update(follow_ups=[{"kind": "compact", "parameters": {}}])
    create, made = lifecycle.create, asyncio.Event()

    async def unite_meanwhile():
        await made.wait()
        await unite(two)

    async def create_late(new):
        made.set()
        await asyncio.wait([uniting], timeout=0.3)
        return await create(new)

    monkeypatch.setattr(lifecycle, "create", create_late)
    uniting = asyncio.create_task(unite_meanwhile())
    await unit(partial(lifecycle.end, job.id, 1, Ending(JobStatus.COMPLETED)))
    await uniting
    step = await Job.get(parent_id=job.id)
    assert step.lane == await lane_of(two) == "one"


async def test_removed_row_and_known_id_change_nothing(host):
    one = await row("one")
    await unite(one)
    await unite(one)
    await unit(partial(lanes.unite, 999, PHOTOS))
    assert [(found.lane, found.borg_id) for found in await Repository.all()] == [("one", PHOTOS)]


async def test_place_decides_again_once_it_is_changed(opened, aiohttp_client, tmp_path):
    api = await served(aiohttp_client, application(opened, tmp_path))
    for name in ("one", "two"):
        await api.repository(name)
    one, two = await Repository.all().order_by("id")
    await unite(one)
    await unite(two)
    assert await lane_of(two) == one.lane != two.lane
    await api.put("/api/repositories/two", {"compression": "none", "location": "/srv/two/"})
    await api.repository("three", location="/srv/./two")
    assert await lane_of(two) == await lane_of(await Repository.get(name="three")) == one.lane
    await api.put("/api/repositories/two", {"location": "/srv/elsewhere"})
    moved = await Repository.get(name="two")
    assert moved.lane not in {one.lane, two.lane}
    assert moved.borg_id is None
    await unite(moved, MUSIC)
    assert await lane_of(one) == one.lane


async def test_two_ways_to_one_real_repository_never_run_at_once(tmp_path, sqlite_url, redis_url, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"0" * 1_000_000)
    (tmp_path / "link").symlink_to(tmp_path / "repository")
    async with instance(settings_for(tmp_path, sqlite_url, redis_url)) as running:
        await running.add_repository("straight", tmp_path / "repository", [source])
        await running.add_repository("linked", tmp_path / "link", [source], init=False)
        assert len(set(await Repository.all().values_list("lane", flat=True))) == 2
        for name in ("straight", "linked"):
            job = await running.ended(await back_up(running, name))
            assert job.status == "completed", job.error_message
        assert len(set(await Repository.all().values_list("lane", flat=True))) == 1
        ids = [await back_up(running, name) for name in ("straight", "linked") * 3]
        jobs = [await running.ended(job_id) for job_id in ids]
    assert [job.status for job in jobs] == ["completed"] * 6
    assert all(job.completed_at <= later.started_at for job, later in pairwise(jobs))
    assert len({job.archive_name for job in jobs}) == 6


async def back_up(running, repository):
    status, answer = await running.call("POST", "/api/backup/run", json={"repository": repository})
    assert status == 202, answer
    return answer["job_id"]
