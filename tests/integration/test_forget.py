"""Forgetting: only where nobody will come back, by an administrator, audited, and the lane is free at once."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from datetime import timedelta
from functools import partial

import pytest
from nacl.public import PrivateKey

from jobs import hosts, lifecycle
from jobs.access import Role, everywhere
from jobs.cancel import cancel
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import finish_units, unit
from jobs.errors import ConflictError, ForbiddenError, NotFoundError
from jobs.forget import forget
from jobs.lifecycle import Ending, NewJob
from jobs.models import AuditEntry, Host, Job
from jobs.queue import host_queue
from jobs.secrets import HostKey
from jobs.view import JobStatus
from tests.fakes.instance import instance, settings_for
from worker.app import WorkerRole

ADMIN = everywhere("token:admin", Role.ADMINISTER)
KEY, OTHER_KEY = HostKey(PrivateKey.generate()), HostKey(PrivateKey.generate())
SILENT = timedelta(minutes=10)


async def created(host="a"):
    return await unit(partial(lifecycle.create, NewJob("repository_init", host, "x", "cli", lane="l")))


async def register(key=KEY, *, replace=False):
    await hosts.register("a", key, max_jobs=4, borg_version=None, replace=replace)


async def running():
    await register()
    job = await created()
    await claim_next(Claimant("a", KEY.id, 4))
    return await Job.get(id=job.id)


async def fall_silent():
    await Host.filter(name="a").update(last_seen_at=now() - SILENT)


async def forgotten(job, principal=ADMIN):
    return await forget(job.id, principal, origin="api")


async def given_up():
    job = await running()
    await unit(partial(hosts.give_up, job.id, job.attempt, "silent", keep_lane=True))
    await fall_silent()
    return await Job.get(id=job.id)


async def test_running_job_of_a_silent_host_ends_and_its_lane_is_free(opened):
    job = await running()
    waiting = await created("b")
    await fall_silent()
    await opened.redis.flushall()
    after = await forgotten(job)
    assert (after.status, after.error_code, after.running_lock) == ("failed", "host_lost", None)
    assert after.error_message.startswith("Given up by token:admin: its host a has been silent since ")
    assert (await claim_next(Claimant("b", "d", 4))).id == waiting.id
    entry = await AuditEntry.get(action="job.forget")
    assert (entry.subject, entry.detail) == ("token:admin", {"job_id": job.id})


async def test_whoever_waits_for_the_lane_is_woken(opened_sqlite):
    job = await running()
    await created("b")
    await fall_silent()
    await finish_units()
    await opened_sqlite.redis.flushall()
    await forgotten(job)
    await finish_units()
    assert await opened_sqlite.redis.zcard(host_queue("b")) == 1


async def test_job_of_a_data_directory_that_was_replaced_is_forgotten_though_its_host_speaks(opened_sqlite):
    job = await running()
    await register(OTHER_KEY, replace=True)
    assert (await Job.get(id=job.id)).running_lock == "l"
    assert (await forgotten(job)).running_lock is None


async def test_job_whose_host_is_unknown_is_forgotten(opened_sqlite):
    job = await running()
    await Host.all().delete()
    assert (await forgotten(job)).error_code == "host_lost"


async def test_given_up_job_lets_go_of_its_lane_and_a_second_time_changes_nothing(opened):
    job = await given_up()
    once = await forgotten(job)
    assert (once.status, once.error_code, once.running_lock, once.late_status) == ("failed", "host_lost", None, None)
    twice = await forgotten(job)
    assert twice.revision == once.revision
    assert await AuditEntry.filter(action="job.forget").count() == 1


async def test_late_result_of_a_forgotten_job_is_noted(opened_sqlite):
    job = await running()
    await fall_silent()
    await forgotten(job)
    after = await unit(partial(lifecycle.end, job.id, job.attempt, Ending(JobStatus.COMPLETED)))
    assert (after.status, after.late_status) == ("failed", "completed")


async def test_job_of_a_host_that_speaks_is_not_forgotten(opened_sqlite):
    job = await running()
    with pytest.raises(ConflictError, match=f"#{job.id} .*its host was heard of 0 s ago. Cancel it instead"):
        await forgotten(job)
    assert (await Job.get(id=job.id)).status == "running"
    assert not await AuditEntry.filter(action="job.forget").exists()


async def test_given_up_job_of_a_host_that_is_back_keeps_its_lane_until_its_host_frees_it(opened_sqlite):
    job = await given_up()
    await register()
    with pytest.raises(ConflictError, match="heard of"):
        await forgotten(job)
    assert (await Job.get(id=job.id)).running_lock == "l"


async def test_pending_job_is_cancelled_and_not_forgotten(opened_sqlite):
    with pytest.raises(ConflictError, match="has not started: cancel it instead"):
        await forgotten(await created())


async def test_ended_job_holds_nothing(opened_sqlite):
    job = await created()
    await cancel(job.id, ADMIN, origin="api")
    with pytest.raises(ConflictError, match="has ended and holds nothing"):
        await forgotten(job)


async def test_only_an_administrator_forgets(opened_sqlite):
    job = await given_up()
    with pytest.raises(ForbiddenError, match="administer"):
        await forgotten(job, everywhere("token:x", Role.OPERATE))
    with pytest.raises(NotFoundError):
        await forget(job.id + 1, ADMIN, origin="api")


async def test_api_forgets(tmp_path, sqlite_url, redis_url):
    async with instance(settings_for(tmp_path, sqlite_url, redis_url, host="other"), WorkerRole.HOST) as running_one:
        job = await running()
        refused, problem = await running_one.call("POST", f"/api/jobs/{job.id}/forget")
        await fall_silent()
        status, answer = await running_one.call("POST", f"/api/jobs/{job.id}/forget")
        again, _ = await running_one.call("POST", f"/api/jobs/{job.id}/forget")
    assert (refused, status, again) == (409, 200, 200)
    assert "Cancel it instead" in problem["detail"]
    assert (answer["status"], answer["error_code"]) == ("failed", "host_lost")


async def test_command_line_forgets(tmp_path, sqlite_url, opened_sqlite):
    job = await given_up()
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8",
        "LOCUTUS_DATA_DIR": str(tmp_path / "data"), "LOCUTUS_DATABASE_URL": sqlite_url,
    }  # fmt: skip
    arguments = (sys.executable, "-m", "cli", "jobs", "forget", str(job.id))
    process = await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=PIPE, stderr=PIPE)
    said, complaint = await process.communicate()
    assert (process.returncode, complaint) == (0, b"")
    assert said.decode().startswith(f"Job #{job.id} is failed and holds no repository.")
    assert (await Job.get(id=job.id)).running_lock is None
    assert (await AuditEntry.get(action="job.forget")).origin == "cli"
