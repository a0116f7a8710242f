"""Claims: the best job that may run now, each once, under one name for its archive."""

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import time_machine

from jobs import lifecycle, runtime_settings
from jobs.claim import CANDIDATES, Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import PRIORITY_STEP, Ending, NewJob
from jobs.models import Archive, Host, Job
from jobs.view import JobStatus
from tests.fakes.instance import repository_row

CLAIMANT = Claimant("test-host", "d", 4)


async def pending(**fields):
    new = NewJob(**{"kind": "repository_init", "host": "test-host", "requested_by": "x", "origin": "cli", **fields})
    return await unit(partial(lifecycle.create, new))


async def backup_of(repository):
    return await pending(
        kind="backup", repository_id=repository.id, repository_name=repository.name, lane=repository.lane
    )


async def claimed(claimant=CLAIMANT):
    job = await claim_next(claimant)
    return job and job.id


async def end(job_id, status=JobStatus.COMPLETED):
    job = await Job.get(id=job_id)
    await unit(partial(lifecycle.end, job.id, job.attempt, Ending(status)))


async def test_nothing_to_do_is_no_job(opened_sqlite):
    assert await claimed() is None


async def test_higher_priority_comes_first_and_then_the_older_job(opened):
    low, normal, high, second = [await pending(priority=number) for number in (-1, 0, 1, 0)]
    assert [await claimed() for _ in range(4)] == [high.id, normal.id, second.id, low.id]


async def test_low_job_that_is_old_enough_goes_first(opened):
    moment = now()
    with time_machine.travel(moment - 2 * PRIORITY_STEP - timedelta(seconds=1), tick=False):
        low = await pending(priority=-1)
    with time_machine.travel(moment - PRIORITY_STEP, tick=False):
        normal = await pending()
    with time_machine.travel(moment, tick=False):
        high = await pending(priority=1)
        normal_of_now = await pending()
    assert normal.queue_rank == high.queue_rank, "the older number goes first"
    assert [await claimed() for _ in range(4)] == [low.id, normal.id, high.id, normal_of_now.id]


async def test_job_waits_for_its_time(opened):
    await pending(not_before=now() + timedelta(hours=1), priority=1)
    due = await pending(not_before=now() - timedelta(seconds=1))
    assert [await claimed(), await claimed()] == [due.id, None]


async def test_busy_lane_lets_the_next_job_pass(opened):
    first, behind, other = [await pending(lane=lane) for lane in ("x", "x", "y")]
    assert [await claimed() for _ in range(3)] == [first.id, other.id, None]
    await end(first.id)
    assert await claimed() == behind.id


async def test_lane_held_by_another_host_is_busy(opened_sqlite):
    theirs, ours = await pending(host="other", lane="x"), await pending(lane="x")
    assert await claimed(Claimant("other", "e", 4)) == theirs.id
    assert await claimed() is None
    await end(theirs.id)
    assert await claimed() == ours.id


async def test_lane_that_an_ended_job_keeps_is_busy(opened_sqlite):
    first, _ = await pending(lane="x"), await pending(lane="x")
    await claimed()
    await unit(partial(lifecycle.end, first.id, 1, Ending(JobStatus.FAILED, keep_lane=True)))
    assert await claimed() is None


async def test_no_more_jobs_run_than_there_are_slots(opened_sqlite):
    jobs = [await pending() for _ in range(3)]
    two = Claimant("test-host", "d", 2)
    assert [await claimed(two) for _ in range(3)] == [jobs[0].id, jobs[1].id, None]
    await end(jobs[0].id)
    assert await claimed(two) == jobs[2].id


async def test_runs_that_a_restarted_worker_adopts_take_their_slots(opened_sqlite):
    await limited(backup=1)
    adopted = [await pending(kind="backup"), await pending()]
    assert [await claimed() for _ in range(2)] == [job.id for job in adopted]
    backup, init = await pending(kind="backup"), await pending()
    assert await claimed(Claimant("test-host", "d", 2)) is None
    assert [await claimed(Claimant("test-host", "d", 4)) for _ in range(2)] == [init.id, None]
    await end(adopted[0].id)
    assert await claimed() == backup.id


async def test_runs_of_another_data_directory_take_slots_of_their_kind_alone(opened_sqlite):
    await limited(backup=2)
    for directory in ("gone", "d"):
        await pending(kind="backup")
        await claimed(Claimant("test-host", directory, 1))
    _, init = await pending(kind="backup"), await pending()
    assert [await claimed(Claimant("test-host", "d", 2)) for _ in range(2)] == [init.id, None]


async def limited(**kinds):
    await unit(partial(runtime_settings.store, {"max_jobs_by_kind": kinds}))


async def test_kind_without_a_free_slot_lets_the_other_kinds_pass(opened):
    await limited(backup=1)
    first, behind, init = await pending(kind="backup"), await pending(kind="backup"), await pending()
    assert [await claimed() for _ in range(3)] == [first.id, init.id, None]
    await end(first.id)
    assert await claimed() == behind.id


async def test_crowd_of_a_full_kind_hides_no_other_kind(opened_sqlite):
    await limited(backup=1)
    jobs = [await pending(kind="backup", priority=1) for _ in range(CANDIDATES + 2)]
    init = await pending()
    assert [await claimed() for _ in range(3)] == [jobs[0].id, init.id, None]


async def test_slots_of_a_kind_are_counted_by_host(opened_sqlite):
    await limited(backup=1)
    theirs, ours = await pending(kind="backup", host="other"), await pending(kind="backup")
    assert await claimed(Claimant("other", "e", 4)) == theirs.id
    assert await claimed() == ours.id


async def test_kind_that_is_not_named_has_no_limit_of_its_own(opened_sqlite):
    await limited(backup=1)
    jobs = [await pending() for _ in range(3)]
    assert [await claimed() for _ in range(3)] == [job.id for job in jobs]


async def test_twenty_claims_at_once_keep_to_the_slots_of_a_kind(opened):
    await Host.create(name="test-host")
    await limited(repository_init=2)
    for number in range(10):
        await pending(lane=f"lane{number}")
    await asyncio.gather(*(claimed(Claimant("test-host", "d", 100)) for _ in range(20)))
    assert await Job.filter(status=JobStatus.RUNNING).count() == 2


async def test_host_takes_only_its_own_jobs(opened_sqlite):
    await pending(host="other")
    assert await claimed() is None


async def test_full_host_does_not_fill_another(opened_sqlite):
    await pending(host="other")
    ours = await pending()
    assert await claimed(Claimant("other", "e", 1)) is not None
    assert await claimed(Claimant("test-host", "d", 1)) == ours.id


async def test_twenty_claims_at_once_take_each_job_once(opened):
    await Host.create(name="test-host")
    jobs = [await pending(lane=f"lane{number}") for number in range(15)]
    taken = await asyncio.gather(*(claimed(Claimant("test-host", "d", 100)) for _ in range(20)))
    assert Counter(taken) == Counter([*(job.id for job in jobs), *[None] * 5])


async def test_twenty_claims_at_once_keep_to_the_slots(opened):
    await Host.create(name="test-host")
    for number in range(10):
        await pending(lane=f"lane{number}")
    await asyncio.gather(*(claimed(Claimant("test-host", "d", 3)) for _ in range(20)))
    assert await Job.filter(status=JobStatus.RUNNING).count() == 3


async def test_two_hosts_at_once_never_share_a_lane(opened):
    for number in range(10):
        await pending(host=f"h{number}", lane="x")
    taken = await asyncio.gather(*(claimed(Claimant(f"h{number}", "d", 4)) for number in range(10)))
    assert len([job_id for job_id in taken if job_id]) == 1


async def test_archive_is_named_at_the_first_claim_and_keeps_its_name(opened_sqlite):
    repository = await repository_row("photos", Path("/r"), [], archive_name_template="{repository}-{job}-{utcnow:%f}")
    job = await backup_of(repository)
    first = await claim_next(CLAIMANT)
    assert first.archive_name.startswith(f"photos-{job.id}-")
    await unit(partial(lifecycle.put_back, job.id, 1))
    again = await claim_next(CLAIMANT)
    assert (again.attempt, again.archive_name) == (2, first.archive_name)


async def test_archive_is_named_after_the_host_as_locutus_calls_it(opened_sqlite):
    """As `jobs/scope.py` takes it for, whatever the machine or its container is called."""
    await backup_of(await repository_row("photos", Path("/r"), [], archive_name_template="{hostname}-{fqdn}-{job}"))
    assert (await claim_next(CLAIMANT)).archive_name == f"{CLAIMANT.host}-{CLAIMANT.host}-1"


async def test_job_that_makes_no_archive_has_no_archive_name(opened_sqlite):
    await pending()
    assert (await claim_next(CLAIMANT)).archive_name is None


async def known_archive(photos, twin):
    await Archive.create(repository=photos, borg_id="1" * 64, name="daily", started_at=now())


async def archive_of_a_row_with_the_same_location(photos, twin):
    await Archive.create(repository=twin, borg_id="1" * 64, name="daily", started_at=now())


async def failed_job_of_the_same_name(photos, twin):
    job = await backup_of(photos)
    assert (await claim_next(CLAIMANT)).archive_name == "daily"
    await end(job.id, JobStatus.FAILED)


@pytest.mark.parametrize(
    "taken_by", [known_archive, archive_of_a_row_with_the_same_location, failed_job_of_the_same_name]
)
async def test_name_that_may_be_taken_gets_the_job_number(opened_sqlite, taken_by):
    rows = [
        await repository_row(name, Path("/r"), [], lane="one", archive_name_template="daily")
        for name in ("photos", "twin")
    ]
    await taken_by(*rows)
    job = await backup_of(rows[0])
    assert (await claim_next(CLAIMANT)).archive_name == f"daily-{job.id}"


async def test_same_name_in_another_borg_repository_is_free(opened_sqlite):
    photos = await repository_row("photos", Path("/r"), [], archive_name_template="daily")
    other = await repository_row("other", Path("/o"), [])
    await Archive.create(repository=other, borg_id="1" * 64, name="daily", started_at=now())
    await backup_of(photos)
    assert (await claim_next(CLAIMANT)).archive_name == "daily"


async def test_job_of_a_type_that_is_gone_fails_and_lets_the_others_run(opened):
    gone, next_one = await pending(kind="uninstalled", priority=1), await pending()
    assert await claimed() == next_one.id
    row = await Job.get(id=gone.id)
    assert (row.status, row.error_code) == ("failed", "not_startable")
    assert "uninstalled" in row.error_message


async def test_template_that_makes_no_name_fails_its_job_and_lets_the_others_run(opened_sqlite):
    job = await backup_of(await repository_row("photos", Path("/r"), [], archive_name_template="{nonsense}"))
    next_one = await pending()
    assert await claimed() == next_one.id
    assert "{utcnow}" in (await Job.get(id=job.id)).error_message
