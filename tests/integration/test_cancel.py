"""Cancelling: at once while a job waits, by its host while it runs, never while its run is just being started."""

import asyncio
from functools import partial

import asyncpg
import pytest

from jobs import lifecycle
from jobs.access import Principal, Role, everywhere
from jobs.cancel import cancel
from jobs.claim import Claimant, claim_next
from jobs.database.connection import database
from jobs.database.unit import unit
from jobs.errors import ConflictError, ForbiddenError, NotFoundError
from jobs.lifecycle import Ending, Failure, NewJob
from jobs.models import AuditEntry, Job
from jobs.queue import open_queue
from jobs.types.backup import Backup
from jobs.view import JobStatus, Progress

ADMIN = everywhere("token:admin", Role.ADMINISTER)
OTHER = everywhere("token:other", Role.ADMINISTER)


async def pending(**fields):
    new = NewJob(**{"kind": "backup", "host": "a", "requested_by": "x", "origin": "cli", "lane": "l", **fields})
    return await unit(partial(lifecycle.create, new))


async def running():
    job = await pending()
    await claim_next(Claimant("a", "d", 4))
    return await Job.get(id=job.id)


async def test_waiting_job_ends_at_once(opened):
    job = await pending()
    after = await cancel(job.id, ADMIN, origin="api")
    assert (after.status, after.cancel_requested_by) == ("cancelled", "token:admin")
    assert await claim_next(Claimant("a", "d", 4)) is None


async def test_running_job_runs_on_until_its_host_has_stopped_it(opened_sqlite):
    job = await running()
    after = await cancel(job.id, ADMIN, origin="api")
    assert (after.status, after.running_lock, after.cancel_requested_by) == ("running", "l", "token:admin")
    assert after.revision > job.revision


async def test_followers_hear_that_a_running_job_shall_end(opened_sqlite):
    job = await running()
    with opened_sqlite.ear(job.id) as ear:
        while await ear.wait(0.3):
            pass
        await cancel(job.id, ADMIN, origin="api")
        assert await ear.wait(5)


async def test_first_asker_is_remembered_and_each_one_is_audited(opened_sqlite):
    job = await running()
    await cancel(job.id, ADMIN, origin="api")
    after = await cancel(job.id, OTHER, origin="slack")
    assert after.cancel_requested_by == "token:admin"
    asked = await AuditEntry.filter(action="job.cancel").order_by("id").values_list("subject", "origin")
    assert asked == [("token:admin", "api"), ("token:other", "slack")]


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_ended_job_stays_as_it_is_and_says_so_unless_it_is_cancelled(opened_sqlite, status):
    job = await running()
    await unit(partial(lifecycle.end, job.id, 1, Ending(status)))
    before = await Job.filter(id=job.id).values()
    if status is JobStatus.CANCELLED:
        assert (await cancel(job.id, ADMIN, origin="api")).status == status
    else:
        with pytest.raises(ConflictError, match=f"Job #{job.id} has ended already: it is {status}."):
            await cancel(job.id, ADMIN, origin="api")
    assert await Job.filter(id=job.id).values() == before
    assert await AuditEntry.all().count() == 0


async def test_run_past_its_point_of_no_return_is_refused(opened_sqlite, monkeypatch):
    monkeypatch.setattr(Backup, "cancellable", lambda _, progress: progress.nfiles is None)
    job = await running()
    await unit(partial(lifecycle.report, job.id, 1, Progress(nfiles=1)))
    with pytest.raises(
        ConflictError, match=f"Job #{job.id} can't be cancelled any more: backup of a: it has come too far"
    ):
        await cancel(job.id, ADMIN, origin="api")
    assert (await Job.get(id=job.id)).cancel_requested_by is None
    assert await AuditEntry.all().count() == 0


async def test_attempt_that_is_to_come_can_be_cancelled_however_far_the_last_one_came(opened_sqlite, monkeypatch):
    monkeypatch.setattr(Backup, "cancellable", lambda _, progress: progress.nfiles is None)
    job = await running()
    await unit(partial(lifecycle.report, job.id, 1, Progress(nfiles=1)))
    await unit(partial(lifecycle.put_back, job.id, 1, failure=Failure("connection_lost", "It broke.")))
    assert (await cancel(job.id, ADMIN, origin="api")).status == "cancelled"


@pytest.mark.parametrize("principal", [everywhere("x", Role.VIEW), Principal("x", ())])
async def test_who_may_not_run_a_job_may_not_end_it(opened_sqlite, principal):
    job = await pending()
    with pytest.raises(ForbiddenError):
        await cancel(job.id, principal, origin="api")
    assert (await Job.get(id=job.id)).status == "pending"


async def test_unknown_job_is_not_found(opened_sqlite):
    with pytest.raises(NotFoundError, match="#999"):
        await cancel(999, ADMIN, origin="api")


async def test_cancel_and_claim_at_once_never_end_a_job_that_runs(opened):
    for number in range(10):
        job = await pending(lane=f"l{number}")
        await asyncio.gather(cancel(job.id, ADMIN, origin="api"), claim_next(Claimant("a", "d", 100)))
        row = await Job.get(id=job.id)
        assert (row.status, row.started_at is None) in {("cancelled", True), ("running", False)}


async def test_job_that_is_claimed_during_a_cancel_keeps_running(postgres_url, redis_url):
    async with database(postgres_url), open_queue(redis_url):
        job = await pending()
        claiming, watching = await asyncpg.connect(postgres_url), await asyncpg.connect(postgres_url)
        try:
            async with claiming.transaction():
                await claiming.execute("UPDATE jobs SET status = 'running', running_lock = 'l' WHERE id = $1", job.id)
                asked = asyncio.create_task(cancel(job.id, ADMIN, origin="api"))
                async with asyncio.timeout(10):
                    while not await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                        await asyncio.sleep(0.01)
            after = await asked
        finally:
            await claiming.close()
            await watching.close()
        assert (after.status, after.running_lock, after.cancel_requested_by) == ("running", "l", "token:admin")
