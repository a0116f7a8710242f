"""The states: every move from every state, and moves that come late. Long walks stand in `test_lifecycle_model`."""

from functools import partial

import pytest

from jobs import lifecycle
from jobs.access import Role, everywhere
from jobs.cancel import cancel
from jobs.database.unit import unit
from jobs.events import EVENT_NAMES
from jobs.lifecycle import Ending, NewJob, StaleMoveError
from jobs.models import ChatMessage, Delivery, Job, Subscription
from jobs.view import FINAL_STATES, JobStatus, Progress

ADMIN = everywhere("token:admin", Role.ADMINISTER)
ENDS = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
ALLOWED = {
    ("pending", "start"), ("pending", "failed"), ("pending", "cancelled"),
    ("running", "report"), ("running", "put_back"),
    ("running", "completed"), ("running", "failed"), ("running", "cancelled"),
}  # fmt: skip


async def created(**fields):
    new = NewJob(**{"kind": "repository_init", "host": "a", "requested_by": "local", "origin": "cli", **fields})
    return await unit(partial(lifecycle.create, new))


async def started(job):
    return await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name=None))


async def ended(job, status, attempt=None):
    return await unit(partial(lifecycle.end, job.id, attempt or job.attempt, Ending(status)))


async def reported(job, attempt=None):
    if not await unit(partial(lifecycle.report, job.id, attempt or job.attempt, Progress(nfiles=3))):
        raise StaleMoveError


async def put_back(job, attempt=None):
    await unit(partial(lifecycle.put_back, job.id, attempt or job.attempt))


MOVES = {
    "start": started,
    "put_back": put_back,
    "report": reported,
    **{status: partial(ended, status=status) for status in ENDS},
}


async def job_in(status):
    job = await created(lane=None)
    if status != JobStatus.PENDING:
        job = await started(job)
    return await ended(job, status) if status in FINAL_STATES else job


async def everything():
    return [await model.all().order_by("id").values() for model in (Job, Delivery, ChatMessage)]


@pytest.mark.parametrize("status", JobStatus)
async def test_each_move_from_each_state_is_made_or_changes_nothing(opened, status):
    await Subscription.create(url="https://x", secret="s", events=list(EVENT_NAMES))
    for name, move in MOVES.items():
        job = await job_in(status)
        before, revision = await everything(), job.revision
        if (status, name) in ALLOWED:
            await move(job)
            assert (await Job.get(id=job.id)).revision > revision
        else:
            with pytest.raises(StaleMoveError):
                await move(job)
            assert await everything() == before, f"{name} from {status} left a trace"


def test_table_of_transitions_is_what_the_moves_do():
    targets = {"start": JobStatus.RUNNING, "put_back": JobStatus.PENDING, **{status: status for status in ENDS}}
    moved = {(source, targets[name]) for source, name in ALLOWED if name in targets}
    assert moved == {(source, target) for source, aims in lifecycle.TRANSITIONS.items() for target in aims}


@pytest.mark.parametrize("move", [put_back, reported, *(partial(ended, status=status) for status in ENDS)])
async def test_attempt_that_was_put_back_moves_nothing_any_more(opened_sqlite, move):
    job = await started(await created(lane="x"))
    await put_back(job)
    again = await started(await Job.get(id=job.id))
    before = await everything()
    with pytest.raises(StaleMoveError):
        await move(job, attempt=1)
    assert await everything() == before
    assert again.attempt == 2


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING])
def test_end_is_a_final_state(status):
    with pytest.raises(ValueError, match="can't end"):
        Ending(status)


async def test_put_back_frees_lane_and_slot_and_forgets_the_run(opened_sqlite):
    job = await started(await created(lane="x"))
    assert job.running_lock == "x"
    await put_back(job)
    row = await Job.get(id=job.id)
    assert (row.status, row.running_lock, row.data_directory_id, row.started_at) == ("pending", None, None, None)


async def test_run_that_never_started_and_whose_end_was_asked_for_is_not_started_again(opened_sqlite):
    job = await started(await created(lane="x"))
    await cancel(job.id, ADMIN, origin="api")
    await put_back(job)
    row = await Job.get(id=job.id)
    assert (row.status, row.running_lock, row.cancel_requested_by) == ("cancelled", None, ADMIN.subject)


async def test_lane_that_is_kept_at_the_end_is_freed_once(opened_sqlite):
    job = await started(await created(lane="x"))
    await unit(partial(lifecycle.end, job.id, 1, Ending(JobStatus.FAILED, keep_lane=True)))
    assert (await Job.get(id=job.id)).running_lock == "x"
    await unit(partial(lifecycle.free_lane, job.id))
    assert (await Job.get(id=job.id)).running_lock is None


async def test_running_job_keeps_its_lane_whoever_frees_it(opened_sqlite):
    job = await started(await created(lane="x"))
    await unit(partial(lifecycle.free_lane, job.id))
    assert (await Job.get(id=job.id)).running_lock == "x"


async def test_followers_hear_of_each_visible_change(opened_sqlite):
    with opened_sqlite.ear() as ear:
        await ear.wait(5)  # the bell's own connection rings once
        job = await created()
        assert await ear.wait(5)
        await started(job)
        assert await ear.wait(5)
        await reported(job)
        assert await ear.wait(5)
        await ended(job, JobStatus.COMPLETED)
        assert await ear.wait(5)
