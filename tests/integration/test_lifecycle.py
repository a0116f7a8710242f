"""The states: every move from every state, moves that come late, and long walks that keep every promise."""

import asyncio
import shutil
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jobs import lifecycle
from jobs.access import Role, everywhere
from jobs.cancel import cancel
from jobs.claim import Claimant, claim_next
from jobs.database.connection import database
from jobs.database.unit import unit
from jobs.lifecycle import Ending, NewJob, StaleMoveError
from jobs.models import ChatMessage, Delivery, Job, Subscription
from jobs.outbox import EVENT_NAMES
from jobs.present import view
from jobs.queue import open_queue
from jobs.threads import CARD, FAILURE, PROGRESS
from jobs.view import FINAL_STATES, JobStatus, Progress
from tests.fakes.instance import repository_row

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


# --- walks ---------------------------------------------------------------------------------------------------------

SLOTS = {"a": 2, "b": 1}
REPOSITORIES = [("r1", "a", "L1"), ("r2", "a", "L1"), ("r3", "a", "L2"), ("r4", "a", "L3"), ("r5", "b", "L4")]
FIRST_CLAIMS = [("claim", "a", None), ("claim", "a", None), ("claim", "b", None)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(REPOSITORIES), st.integers(-1, 1)),
        st.tuples(st.just("claim"), st.sampled_from("ab"), st.none()),
        st.tuples(st.sampled_from(["put_back", "report", "cancel", "free_lane"]), st.integers(0, 7), st.integers(0, 1)),
        st.tuples(st.sampled_from(["end", "end_keeping_lane"]), st.integers(0, 7), st.sampled_from(ENDS)),
    ),
    min_size=8,
    max_size=30,
)


class Walk:
    """Makes moves, and compares after each what must hold with what the database says."""

    def __init__(self):
        self.rows = {}
        self.starts = Counter()
        self.kept = set()

    async def step(self, action, what, detail):
        if action == "create":
            name, host, lane = what
            await created(kind="backup", host=host, lane=lane, repository_name=name, priority=detail)
        elif action == "claim":
            await self.claim(what)
        elif self.rows:
            job = await Job.get(id=sorted(self.rows)[what % len(self.rows)])
            try:
                await self.move(action, job, detail)
            except StaleMoveError:
                assert await Job.filter(id=job.id).values() == [self.rows[job.id]]
        await self.check()

    async def claim(self, host):
        job = await claim_next(Claimant(host, "d", SLOTS[host]))
        assert (job and job.id) == self.expected(host)
        if job:
            self.starts[job.id] += 1

    def expected(self, host):
        mine = [row for row in self.rows.values() if row["host"] == host]
        if sum(row["status"] == "running" for row in mine) >= SLOTS[host]:
            return None
        taken = {row["running_lock"] for row in self.rows.values()} - {None}
        ready = [row for row in mine if row["status"] == "pending" and row["lane"] not in taken]
        return min(((-row["priority"], row["id"]) for row in ready), default=(0, None))[1]

    async def move(self, action, job, detail):
        if action == "cancel":
            await cancel(job.id, ADMIN, origin="api")
        elif action == "free_lane":
            await unit(partial(lifecycle.free_lane, job.id))
            self.kept.discard(job.id)
        elif action == "put_back":
            await put_back(job, attempt=max(1, job.attempt - detail))
        elif action == "report":
            await reported(job, attempt=max(1, job.attempt - detail))
        else:
            keep = action == "end_keeping_lane" and job.status == "running"
            await unit(partial(lifecycle.end, job.id, job.attempt, Ending(detail, keep_lane=keep)))
            self.kept |= {job.id} if keep else set()

    async def check(self):
        before, self.rows = self.rows, {row["id"]: row for row in await Job.all().values()}
        for job_id, row in self.rows.items():
            self.check_change(before.get(job_id), row)
            await self.check_thread_and_deliveries(row)
        for host, slots in SLOTS.items():
            assert sum(row["host"] == host and row["status"] == "running" for row in self.rows.values()) <= slots
        lanes = Counter(row["running_lock"] for row in self.rows.values() if row["running_lock"])
        assert max(lanes.values(), default=0) <= 1

    def check_change(self, before, row):
        holds = row["status"] == "running" or row["id"] in self.kept
        assert row["running_lock"] == (row["lane"] if holds else None)
        if before is None:
            return
        assert row["attempt"] >= before["attempt"]
        assert row["revision"] >= before["revision"]
        if self.seen(before) != self.seen(row):
            assert row["revision"] > before["revision"]
        if before["status"] in FINAL_STATES:
            assert {**row, "running_lock": None} == {**before, "running_lock": None}

    @staticmethod
    def seen(row):
        return view(Job(**row)).model_dump(exclude={"duration_s"})

    async def check_thread_and_deliveries(self, row):
        events = Counter(await Delivery.filter(job_id=row["id"]).values_list("event", flat=True))
        expected = Counter({"job.started": self.starts[row["id"]]})
        if row["status"] in FINAL_STATES:
            expected[f"job.{row['status']}"] = 1
        assert events == +expected
        parts = Counter(await ChatMessage.filter(job_id=row["id"]).values_list("part", flat=True))
        assert parts == Counter([CARD, PROGRESS, *([FAILURE] if row["status"] == "failed" else [])])


async def walk(database_url, redis_url, steps):
    async with database(database_url), open_queue(redis_url):
        await Subscription.create(url="https://x", secret="s", events=list(EVENT_NAMES))
        for name, host, lane in REPOSITORIES:
            await repository_row(name, Path("/r"), [], host=host, lane=lane)
        walker = Walk()
        for step in [*(("create", repository, 0) for repository in REPOSITORIES), *FIRST_CLAIMS, *steps]:
            await walker.step(*step)


# A failing walk is short enough to read; making it shorter would take minutes.
@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(steps=STEPS)
def test_no_walk_breaks_a_promise(sqlite_template, redis_socket, steps):
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(sqlite_template, Path(directory) / "locutus.db")
        asyncio.run(walk(f"sqlite://{directory}/locutus.db", f"unix://{redis_socket}", steps))
