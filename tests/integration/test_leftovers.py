"""What a sweep finds: it goes on with what runs, puts back what never ran, and keeps what a late starter must find."""

import time
from functools import partial

import pytest

from jobs import hosts
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
    assert [run async for run in leftovers.unfollowed(identity, set(), {})] == []
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
    seen_s = {}
    assert [run async for run in leftovers.unfollowed(identity, set(), seen_s)] == []
    assert directory.path.exists()
    seen_s[directory] -= 10 * START_WITHIN_S
    assert [run async for run in leftovers.unfollowed(identity, set(), seen_s)] == []
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


async def given_up(identity, tmp_path):
    job = await claimed(identity, tmp_path)
    await unit(partial(hosts.give_up, job.id, job.attempt, "silent", keep_lane=True))
    return await Job.get(id=job.id)


async def swept(identity, seen_s=None):
    found = [run async for run in leftovers.unfollowed(identity, set(), {} if seen_s is None else seen_s)]
    await leftovers.put_back_unstarted(identity, Recorder(identity), set())
    await leftovers.free_lanes(identity)
    return found


async def test_given_up_job_that_never_got_a_directory_frees_its_lane_and_can_start_no_more(identity, tmp_path):
    job = await given_up(identity, tmp_path)
    assert job.running_lock is not None
    assert await swept(identity) == []
    after = await Job.get(id=job.id)
    assert (after.status, after.running_lock) == ("failed", None)
    assert identity.directory(job).exit().reason == "not_started"


async def test_given_up_job_that_never_started_frees_its_lane_and_its_directory_goes(identity, tmp_path):
    job = await given_up(identity, tmp_path)
    directory = identity.directory(job)
    supervision.make(directory)
    assert await swept(identity) == []
    assert (await Job.get(id=job.id)).running_lock is None
    assert await swept(identity, {directory: time.monotonic() - 10 * START_WITHIN_S}) == []
    assert not directory.path.exists()


async def test_given_up_job_that_ran_is_recorded_late_before_its_lane_is_free(identity, tmp_path):
    job = await given_up(identity, tmp_path)
    directory = identity.directory(job)
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    specification = RunSpecification(job.id, job.attempt, "backup", ("/bin/ls", "/nowhere"), 10.0, now_s + 10)
    supervision.start(directory, specification, {}, None)
    await supervision.ended(directory)
    (following,) = await swept(identity)
    assert (await Job.get(id=job.id)).running_lock is not None
    await Recorder(identity).record(following)
    after = await Job.get(id=job.id)
    assert (after.status, after.error_code, after.late_status) == ("failed", "host_lost", "failed")
    assert after.running_lock is None
    assert not directory.path.exists()
    assert await swept(identity) == []
