"""What a waiting job is said to wait for, and its place: always what the claim would say."""

import logging
from datetime import timedelta
from functools import partial

from bot.commands import Asker, answer
from jobs import lifecycle, runtime_settings
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.hosts import SILENT_AFTER
from jobs.lifecycle import Ending, NewJob
from jobs.models import Host, Job
from jobs.view import JobStatus, Standing
from jobs.waiting import standing_of, standings
from tests.fakes.gateway import application, started
from tests.fakes.instance import ADMIN

NAS = Claimant("nas-1", "d", 4)


async def host(name="nas-1", **columns):
    return await Host.create(name=name, data_directory_id="d", last_seen_at=now(), **columns)


async def pending(**fields):
    new = NewJob(**{"kind": "backup", "host": "nas-1", "requested_by": "x", "origin": "cli", **fields})
    return await unit(partial(lifecycle.create, new))


async def running(claimant=NAS, **fields):
    await pending(**{"priority": 9, **fields})
    job = await claim_next(claimant)
    assert job is not None
    return job


async def end(job, ending):
    await unit(partial(lifecycle.end, job.id, job.attempt, ending))


async def stands(job):
    return await standing_of(await Job.get(id=job.id))


async def limited(**kinds):
    await unit(partial(runtime_settings.store, {"max_jobs_by_kind": kinds}))


async def test_job_behind_a_running_one_waits_for_that(opened):
    await host()
    first = await running(lane="x", kind="repository_init")
    waiting = [await pending(lane="x", priority=priority) for priority in (0, 1, 0)]
    await pending(lane="y", priority=2)
    said = f"#{first.id} (repository init, running)"
    assert [await stands(job) for job in waiting] == [Standing(said, place) for place in (2, 1, 3)]


async def test_lane_of_a_job_on_another_host_counts_as_well(opened):
    await host()
    await host("nas-2")
    theirs = await running(Claimant("nas-2", "d", 4), host="nas-2", lane="x")
    await pending(lane="x", host="nas-2")
    ours = await pending(lane="x")
    assert await stands(ours) == Standing(f"#{theirs.id} (backup, running)", 2)


async def test_job_whose_time_has_not_come_is_in_no_queue(opened):
    await host()
    later = await pending(lane="x", not_before=now() + timedelta(hours=1), priority=1)
    first = await running(lane="x")
    behind = await pending(lane="x")
    assert await stands(later) == Standing(f"#{first.id} (backup, running)")
    assert (await stands(behind)).place == 1
    await end(first, Ending(JobStatus.COMPLETED))
    assert await stands(later) == Standing()
    assert await stands(behind) == Standing("nas-1", 1)


async def test_ended_job_that_still_uses_the_repository_is_said(opened_sqlite):
    await host()
    first, behind = await running(lane="x"), await pending(lane="x")
    await end(first, Ending(JobStatus.FAILED, keep_lane=True))
    said = f"the repository, which a process of #{first.id} (backup, failed) still uses"
    assert await stands(behind) == Standing(said, 1)


async def test_lane_of_a_lost_host_says_how_to_free_it(opened_sqlite):
    await host()
    first, behind = await running(lane="x"), await pending(lane="x")
    await end(first, Ending(JobStatus.FAILED, error_code=lifecycle.HOST_LOST, keep_lane=True))
    said = f"#{first.id} (backup), whose host nas-1 is lost (`locutus jobs forget {first.id}` frees the repository)"
    assert await stands(behind) == Standing(said, 1)


async def test_job_without_a_slot_says_how_many_there_are(opened):
    await host(max_jobs=1)
    await running(lane="x")
    waiting = [await pending(lane="y"), await pending(lane="z"), await pending(lane=None)]
    said = "a slot on nas-1, where 1 job may run at once"
    assert [await stands(job) for job in waiting] == [Standing(said, place) for place in (1, 2, 3)]
    assert await claim_next(Claimant("nas-1", "d", 1)) is None


async def test_job_that_waits_for_its_lane_is_not_ahead_in_the_queue_for_a_slot(opened):
    await host(max_jobs=1)
    await running(lane="x")
    await pending(lane="x", priority=1)
    waiting = [await pending(lane="y"), await pending(lane=None), await pending(lane="z")]
    assert [(await stands(job)).place for job in waiting] == [1, 2, 3]


async def test_run_of_another_data_directory_takes_no_slot(opened_sqlite):
    row = await host(max_jobs=1)
    await running()
    await Host.filter(id=row.id).update(data_directory_id="other")
    assert await stands(await pending()) == Standing("nas-1", 1)


async def test_job_of_a_limited_kind_says_the_limit(opened):
    await host()
    await limited(backup=2)
    for _ in range(2):
        await running()
    waiting = await pending()
    assert await stands(waiting) == Standing("a slot on nas-1, where 2 backup jobs may run at once", 1)
    assert await claim_next(NAS) is None


async def test_nothing_in_the_way_is_waiting_for_the_host(opened_sqlite):
    await host()
    assert await stands(await pending(lane="x")) == Standing("nas-1", 1)


async def test_silent_host_is_said_and_the_queue_at_it(opened):
    await host()
    ran = await running(lane="z")
    first, behind, other = await pending(lane="x"), await pending(lane="x"), await pending(lane=None)
    seen_at = now() - SILENT_AFTER - timedelta(seconds=1)
    await Host.filter(name="nas-1").update(last_seen_at=seen_at)
    assert await stands(ran) == Standing(host_silent_since=seen_at)
    assert await stands(first) == Standing("nas-1 to be heard of again", 1, seen_at)
    assert await stands(behind) == Standing(f"#{first.id} (backup, pending)", 2, seen_at)
    assert await stands(other) == Standing("nas-1 to be heard of again", 3, seen_at)


async def test_host_that_never_reported_is_said(opened_sqlite):
    assert await stands(await pending()) == Standing("nas-1, whose worker has never reported", 1)
    await Host.create(name="nas-1")
    assert await stands(await pending()) == Standing("nas-1, whose worker has never reported", 2)


async def test_ended_job_stands_nowhere(opened_sqlite):
    job = await pending()
    await end(job, Ending(JobStatus.CANCELLED))
    assert await stands(job) == Standing()


async def test_places_are_the_order_in_which_claims_take_the_jobs(opened):
    await host(max_jobs=1)
    first = await running()
    jobs = [await pending(priority=number % 3 - 1) for number in range(9)]
    # Two of one moment: the smaller number goes first.
    await Job.filter(id__in=[jobs[3].id, jobs[6].id]).update(queue_rank=jobs[0].queue_rank)
    found = await standings(await Job.filter(status=JobStatus.PENDING))
    places = {standing.place: job_id for job_id, standing in found.items()}
    await end(first, Ending(JobStatus.COMPLETED))
    claims = [await claim_next(Claimant("nas-1", "d", 100)) for _ in jobs]
    assert [places[number] for number in range(1, 10)] == [job.id for job in claims if job]


async def test_page_of_two_hundred_jobs_costs_as_many_queries_as_one_of_two(opened, caplog):
    await host(max_jobs=2)
    await limited(backup=2)
    for number in range(2):
        await running(lane=f"lane{number}")
    jobs = [await pending(lane=f"lane{number % 20}") for number in range(200)]
    with caplog.at_level(logging.DEBUG, logger="tortoise.db_client"):
        few = await queries_for(jobs[:2], caplog)
        assert 1 <= await queries_for(jobs, caplog) == few <= 6


async def queries_for(jobs, caplog):
    caplog.clear()
    assert all(standing.place for standing in (await standings(jobs)).values())
    return len(caplog.records)


async def test_api_says_what_a_job_waits_for(opened, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened, tmp_path))
    await api.repository("photos", host="nas-1")
    await host()
    ids = [(await api.post("/api/backup/run", {"repository": "photos"})).json["job_id"] for _ in range(3)]
    assert (await claim_next(NAS)).id == ids[0]
    expected = [(None, None), *((f"#{ids[0]} (backup, running)", place) for place in (1, 2))]
    listed = (await api.get("/api/jobs?status=pending")).json["items"]
    assert [said(job) for job in reversed(listed)] == expected[1:]
    for job_id, stands_so in zip(ids, expected, strict=True):
        for path in (f"/api/jobs/{job_id}", f"/api/backup/jobs/{job_id}"):
            job = (await api.get(path)).json
            assert (said(job), job["host_silent_since"]) == (stands_so, None)


def said(job):
    return job["waits_for"], job["queue_place"]


async def test_chat_says_what_a_job_waits_for(opened_sqlite):
    await host(max_jobs=1)
    first, second, later = await running(lane="x"), await pending(lane="x"), await pending(lane="y")
    await Job.filter(id=later.id).update(not_before=now() + timedelta(hours=1))
    summary, *told = (await answer("status", Asker(ADMIN, "slack", None))).text.splitlines()
    assert summary == "1 running, 2 waiting:"
    assert "running" in told[0]
    assert told[1].endswith(f"pending, waiting for #{first.id} (backup, running)")
    assert "pending, not before" in told[2]
    assert (await answer(f"status {second.id}", Asker(ADMIN, "slack", None))).text == told[1]
