"""What a sweep finds: it goes on with what runs, puts back what never ran, and keeps what a late starter must find."""

import os
import time

import pytest

from jobs.claim import claim_next
from jobs.database.unit import unit
from jobs.hosts import register
from jobs.models import Host, Job
from jobs.secrets import HostKey
from jobs.submit import JobRequest, submit
from tests.fakes.instance import ADMIN, repository_row, settings_for
from worker import leftovers, supervision
from worker.preparation import START_WITHIN_S
from worker.recording import HostIdentity, Recorder
from worker.run_directory import RunDirectory, RunSpecification


@pytest.fixture
async def identity(opened_sqlite, sqlite_url, redis_url, tmp_path):
    settings = settings_for(tmp_path, sqlite_url, redis_url)
    settings.runs.mkdir(parents=True)
    key = HostKey.load(settings.data_dir / "host.key")
    await register(settings.host, key, max_jobs=4, borg_version=None)
    return HostIdentity(settings, key)


async def claimed(identity, tmp_path):
    await repository_row("photos", tmp_path / "repository", [tmp_path])
    await submit(JobRequest("backup", ADMIN, "cli", "photos"))
    return await claim_next(identity.claimant)


async def test_job_without_a_directory_is_put_back_and_its_late_starter_starts_nothing(identity, tmp_path):
    job = await claimed(identity, tmp_path)
    await leftovers.put_back_unstarted(identity, Recorder(identity), set())
    row = await Job.get(id=job.id)
    assert (row.status, row.attempt, row.running_lock) == ("pending", 2, None)
    assert [run async for run in leftovers.unfollowed(identity, set())] == []
    late = RunDirectory.of(identity.settings.runs, job.id, 1)
    specification = RunSpecification(
        job.id, 1, "backup", ("/bin/true",), 10.0, time.clock_gettime(time.CLOCK_BOOTTIME) + 10
    )
    with pytest.raises(supervision.AlreadyStartedError):
        supervision.start(late, specification, {}, None)


async def test_directory_of_a_job_that_moved_on_goes_once_no_late_starter_can_come(identity, tmp_path):
    job = await claimed(identity, tmp_path)
    await leftovers.put_back_unstarted(identity, Recorder(identity), set())
    directory = RunDirectory.of(identity.settings.runs, job.id, 1)
    long_ago = time.time() - 10 * START_WITHIN_S
    os.utime(directory.path, (long_ago, long_ago))
    assert [run async for run in leftovers.unfollowed(identity, set())] == []
    assert not directory.path.exists()


async def test_job_that_is_being_started_here_is_left_alone(identity, tmp_path):
    job = await claimed(identity, tmp_path)
    await leftovers.put_back_unstarted(identity, Recorder(identity), {job.id})
    assert (await Job.get(id=job.id)).status == "running"


async def test_worker_whose_host_name_was_taken_over_claims_nothing(identity, tmp_path):
    await repository_row("photos", tmp_path / "repository", [tmp_path])
    await submit(JobRequest("backup", ADMIN, "cli", "photos"))
    await unit(lambda: Host.filter(name=identity.settings.host).update(data_directory_id="another"))
    assert await claim_next(identity.claimant) is None
