"""Lifecycle and claim against a model: random requests, claims, ends, deaths, late words and repeats keep each promise.

The model says of each move whether it is made, what the row is then, and which job a host must take next.
"""

import asyncio
import contextlib
import contextvars
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tortoise.expressions import F

from jobs import lifecycle, runtime_settings, threads
from jobs.access import Role, everywhere
from jobs.cancel import cancel
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database import connection
from jobs.database.connection import database
from jobs.database.unit import unit
from jobs.errors import ConflictError
from jobs.events import EVENT_NAMES
from jobs.lifecycle import HOST_LOST, PRIORITY_STEP, Ending, Failure, NewJob, StaleMoveError
from jobs.models import ChatMessage, Delivery, Host, Job, Subscription
from jobs.present import view
from jobs.queue import open_queue
from jobs.threads import CARD, FAILURE, PROGRESS
from jobs.view import FINAL_STATES, JobStatus, Progress
from tests.fakes.instance import repository_row

ADMIN = everywhere("token:admin", Role.ADMINISTER)
PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = JobStatus
KINDS = ("backup", "repository_init")
SLOTS = {"a": 3, "b": 1}
LIMITS = {"repository_init": 1}
REPOSITORIES = {"r1": ("a", "L1"), "r2": ("a", "L1"), "r3": ("a", "L2"), "r4": ("a", "L3"), "r5": ("b", "L4")}
HOUR = timedelta(hours=1)
MAY_CHANGE_AFTER_THE_END = {"running_lock", "late_status", "revision"}


@dataclass
class Modelled:
    """What a job must be."""

    id: int
    kind: str
    host: str
    lane: str
    rank: int
    not_before: datetime | None
    status: JobStatus = PENDING
    attempt: int = 1
    retries: int = 0
    holds: bool = False
    cancel_asked: bool = False
    error_code: str | None = None
    late: JobStatus | None = None
    starts: int = 0

    @property
    def given_up(self) -> bool:
        return self.error_code == HOST_LOST and self.late is None

    def end(self, ending: Ending) -> bool:
        """Whether this is a move; it is made."""
        if self.status not in FINAL_STATES:
            if ending.status == COMPLETED and self.status == PENDING:
                return False
            self.status, self.error_code = ending.status, ending.error_code
        elif self.given_up:
            self.late = ending.status
        else:
            return False
        self.holds = self.holds and ending.keep_lane
        return True

    def put_back(self, *, costs_retry: bool, not_before: datetime | None) -> bool:
        if self.status != RUNNING:
            return False
        self.status = CANCELLED if self.cancel_asked else PENDING
        self.error_code = "connection_lost" if costs_retry and not self.cancel_asked else None
        self.attempt, self.retries = self.attempt + 1, self.retries + costs_retry
        self.holds, self.not_before = False, not_before
        return True

    def cancel(self) -> bool:
        """Whether it is accepted."""
        if self.status in FINAL_STATES:
            return self.status == CANCELLED
        self.cancel_asked = True
        if self.status == PENDING:
            self.status, self.error_code = CANCELLED, None
        return True

    def columns(self) -> dict:
        """The columns that the model knows."""
        return {
            "kind": self.kind, "host": self.host, "lane": self.lane, "queue_rank": self.rank, "status": self.status,
            "attempt": self.attempt, "retries": self.retries, "not_before": self.not_before,
            "running_lock": self.lane if self.holds else None, "error_code": self.error_code,
            "late_status": self.late, "cancel_requested_by": ADMIN.subject if self.cancel_asked else None,
        }  # fmt: skip


SOME_JOB = st.tuples(
    st.sampled_from(["running", "retried", "retried", "being cancelled", "given up", "given up", "ended late", "any"]),
    st.integers(0, 9),
)
LATENESS = st.sampled_from([0, 0, 1])
"""How many attempts ago the worker was paused that speaks now."""
HOSTS, ENDS = st.sampled_from(sorted(SLOTS)), st.sampled_from([COMPLETED, FAILED, CANCELLED])
SOON = st.sampled_from([None, None, 2])
PUT_BACK = st.tuples(st.just("put_back"), SOME_JOB, LATENESS, st.booleans(), SOON)
END = st.tuples(st.just("end"), SOME_JOB, LATENESS, ENDS, st.booleans())
ASK = st.tuples(st.just("ask"), st.sampled_from(sorted(REPOSITORIES)), st.sampled_from(KINDS), st.integers(-1, 1), SOON)
MOVES = st.one_of(
    ASK,
    ASK,
    PUT_BACK,
    PUT_BACK,
    END,
    END,
    st.tuples(st.just("wait"), st.sampled_from([1, 7, 13])),
    st.tuples(st.sampled_from(["claim", "claim_twice_at_once", "claim_from_another_data_directory"]), HOSTS),
    st.tuples(st.sampled_from(["cancel", "free_lane"]), SOME_JOB),
    st.tuples(st.just("give_up_with_its_host"), SOME_JOB),
    st.tuples(st.just("report"), SOME_JOB, LATENESS),
)


class Lifecycle(RuleBasedStateMachine):
    """Makes each move in the product and in the model, and compares them."""

    def __init__(self, template, redis_socket):
        super().__init__()
        self.clock = now()
        self.model = {}
        self.rows = {}
        self.repositories = {}
        self.runner, self.context = asyncio.Runner(), contextvars.copy_context()
        self.opened = contextlib.AsyncExitStack()
        directory = self.opened.enter_context(tempfile.TemporaryDirectory())
        self.opened.enter_context(mock.patch.dict(connection.SQLITE_WRITER, synchronous="OFF"))
        for module in ("lifecycle", "claim"):
            self.opened.enter_context(mock.patch(f"jobs.{module}.now", self.present))
        shutil.copy(template, Path(directory) / "locutus.db")
        self.run(self.open, f"sqlite://{directory}/locutus.db", f"unix://{redis_socket}")

    def run(self, work, *arguments, **options):
        """What a coroutine function returns; it is called where the database is open."""

        async def call():
            return await work(*arguments, **options)

        return self.runner.run(call(), context=self.context)

    def present(self):
        return self.clock

    async def open(self, database_url, redis_url):
        await self.opened.enter_async_context(database(database_url))
        await self.opened.enter_async_context(open_queue(redis_url))
        await Subscription.create(url="https://x", secret="s", events=list(EVENT_NAMES))
        await unit(partial(runtime_settings.store, {"max_jobs_by_kind": LIMITS}))
        for host in SLOTS:
            await Host.create(name=host, data_directory_id=f"directory-{host}")
        for name, (host, lane) in REPOSITORIES.items():
            self.repositories[name] = await repository_row(name, Path("/r"), [], host=host, lane=lane)

    def teardown(self):
        try:
            self.let_all_end()
        finally:
            self.run(self.opened.aclose)
            self.runner.close()

    # Moves.

    @initialize()
    def some_jobs_run(self):
        for name, kind in zip(REPOSITORIES, (*KINDS, *KINDS, "backup"), strict=True):
            self.ask(name, kind, 0, None)
        for host in "aab":
            self.claim(host)

    @rule(move=MOVES)
    def make(self, move):
        name, *arguments = move
        getattr(self, name)(*arguments)

    def ask(self, name, kind, priority, in_hours):
        repository, not_before = self.repositories[name], in_hours and self.clock + in_hours * HOUR
        host, lane = REPOSITORIES[name]
        new = NewJob(kind, host, "local", "cli", repository.id, name, lane, priority=priority, not_before=not_before)
        job_id = self.run(unit, partial(lifecycle.create, new)).id
        rank = int((self.clock - priority * PRIORITY_STEP).timestamp() * 1000)
        self.model[job_id] = Modelled(job_id, kind, host, lane, rank, not_before)

    def wait(self, hours):
        self.clock += hours * HOUR

    def claim(self, host):
        claimed = self.run(claim_next, Claimant(host, f"directory-{host}", SLOTS[host]))
        assert (claimed and claimed.id) == self.next_claim(host)

    def claim_twice_at_once(self, host):
        async def both():
            claimant = Claimant(host, f"directory-{host}", SLOTS[host])
            return await asyncio.gather(claim_next(claimant), claim_next(claimant))

        claimed = [job and job.id for job in self.run(both)]
        expected = [self.next_claim(host), self.next_claim(host)]
        assert sorted(claimed, key=str) == sorted(expected, key=str)

    def claim_from_another_data_directory(self, host):
        assert self.run(claim_next, Claimant(host, "another", 9)) is None

    def report(self, job, lateness):
        job = self.pick(*job)
        attempt = self.attempt(job, lateness)
        stored = self.run(unit, partial(lifecycle.report, job, attempt, Progress(nfiles=self.rows[job]["revision"])))
        assert stored == (self.model[job].status == RUNNING and attempt == self.model[job].attempt)

    def put_back(self, job, lateness, costs_retry, in_hours):
        job = self.pick(*job)
        not_before = in_hours and self.clock + in_hours * HOUR
        failure = Failure("connection_lost", "It broke.") if costs_retry else None
        attempt = self.attempt(job, lateness)
        back = partial(lifecycle.put_back, job, attempt, not_before=not_before, reason="a reason", failure=failure)
        moved = self.is_moved(back)
        mine = attempt == self.model[job].attempt
        assert moved == (mine and self.model[job].put_back(costs_retry=costs_retry, not_before=not_before))
        self.claim_as_after_each_end(job)

    def end(self, job, lateness, status, keep_lane):
        job = self.pick(*job)
        self.end_as(job, lateness, Ending(status, Progress(nfiles=7), keep_lane=keep_lane))
        self.claim_as_after_each_end(job)

    def give_up_with_its_host(self, job):
        job = self.pick(*job)
        if self.model[job].status == RUNNING:
            self.end_as(job, 0, Ending(FAILED, error_code=HOST_LOST, keep_lane=True))

    def cancel(self, job):
        job = self.pick(*job)
        try:
            self.run(cancel, job, ADMIN, origin="api")
        except ConflictError:
            accepted = False
        else:
            accepted = True
        assert accepted == self.model[job].cancel()

    def free_lane(self, job):
        job = self.pick(*job)
        self.let_lane_go(job)
        self.claim_as_after_each_end(job)

    # What must hold after each move.

    @invariant()
    def rows_are_as_modelled(self):
        before, self.rows = self.rows, {row["id"]: row for row in self.run(lambda: Job.all().values())}
        assert self.rows.keys() == self.model.keys(), "a job was lost, or came from nowhere"
        for job_id, row in self.rows.items():
            expected = self.model[job_id].columns()
            assert {name: row[name] for name in expected} == expected
            assert row["retries"] <= row["attempt"] - 1
            if job_id in before:
                check_change(before[job_id], row)

    @invariant()
    def lanes_and_slots_are_kept_to(self):
        running = [row for row in self.rows.values() if row["status"] == RUNNING]
        for host, slots in SLOTS.items():
            mine = Counter(row["kind"] for row in running if row["host"] == host)
            assert mine.total() <= slots
            assert all(mine[kind] <= limit for kind, limit in LIMITS.items())
        lanes = Counter(row["running_lock"] for row in self.rows.values() if row["running_lock"])
        assert max(lanes.values(), default=0) <= 1
        names = Counter((row["lane"], row["archive_name"]) for row in self.rows.values() if row["archive_name"])
        assert max(names.values(), default=0) <= 1

    @invariant()
    def each_event_is_owed_once_and_each_thread_has_its_parts(self):
        owed = Counter(self.run(lambda: Delivery.all().values_list("job_id", "event")))
        shown = Counter(self.run(lambda: ChatMessage.all().values_list("job_id", "part")))
        # This clock goes by whole hours: what took any time at all took longer than `reply_after_minutes`.
        took_long = self.run(lambda: Job.filter(completed_at__gt=F("started_at")).values_list("id", flat=True))
        events, parts = Counter(), Counter()
        for job in self.model.values():
            events[job.id, "job.started"] = job.starts
            parts.update([(job.id, CARD), (job.id, PROGRESS)])
            if job.status in FINAL_STATES:
                events[job.id, f"job.{job.status}"] = 1
            if job.status == FAILED:
                parts[job.id, FAILURE] = 1
            elif job.id in took_long:
                parts[job.id, threads.END] = 1
        assert (owed, shown) == (+events, parts)

    # Steps.

    def pick(self, among, which):
        """One of the jobs that are so; of those that run, or of all, where none is."""
        is_so = {
            "running": lambda job: job.status == RUNNING,
            "retried": lambda job: job.status == RUNNING and job.attempt > 1,
            "being cancelled": lambda job: job.status == RUNNING and job.cancel_asked,
            "given up": lambda job: job.given_up,
            "ended late": lambda job: job.late is not None,
            "any": lambda _: True,
        }
        for wanted in (among, "running", "any"):
            if found := [job.id for job in self.model.values() if is_so[wanted](job)]:
                return found[which % len(found)]
        raise AssertionError("there is no job")

    def claim_as_after_each_end(self, job):
        self.claim(self.model[job].host)

    def let_lane_go(self, job):
        self.run(unit, partial(lifecycle.free_lane, job))
        self.model[job].holds &= self.model[job].status not in FINAL_STATES

    def next_claim(self, host):
        """The job that the host must take now; the model takes it."""
        running = Counter(job.kind for job in self.model.values() if job.host == host and job.status == RUNNING)
        if running.total() >= SLOTS[host]:
            return None
        held = {job.lane for job in self.model.values() if job.holds}
        full = {kind for kind, limit in LIMITS.items() if running[kind] >= limit}
        ready = [
            job
            for job in self.model.values()
            if job.host == host and job.status == PENDING and job.lane not in held and job.kind not in full
            and (job.not_before is None or job.not_before <= self.clock)
        ]  # fmt: skip
        if not ready:
            return None
        best = min(ready, key=lambda job: (job.rank, job.id))
        best.status, best.holds, best.starts, best.error_code = RUNNING, True, best.starts + 1, None
        return best.id

    def end_as(self, job, lateness, ending):
        attempt = self.attempt(job, lateness)
        moved = self.is_moved(partial(lifecycle.end, job, attempt, ending))
        assert moved == (attempt == self.model[job].attempt and self.model[job].end(ending))

    def attempt(self, job, lateness):
        return max(1, self.model[job].attempt - lateness)

    def is_moved(self, move):
        try:
            self.run(unit, move)
        except StaleMoveError:
            return False
        return True

    def let_all_end(self):
        """No job is lost: whatever happened, each can still reach an end."""
        self.clock += 100 * HOUR
        while waiting := [job for job in self.model.values() if job.status not in FINAL_STATES]:
            for job in self.model.values():
                if job.status == RUNNING:
                    self.end_as(job.id, 0, Ending(COMPLETED))
                self.let_lane_go(job.id)
            for host in SLOTS:
                self.claim(host)
            assert waiting != [job for job in self.model.values() if job.status not in FINAL_STATES] or any(
                job.status == RUNNING for job in waiting
            )
        self.rows_are_as_modelled()


def check_change(before, row):
    """What a person could see has a new revision, no number falls, and an end is for good."""
    for number in ("attempt", "retries", "revision"):
        assert row[number] >= before[number]
    if before["archive_name"]:
        assert row["archive_name"] == before["archive_name"]
    if seen(before) != seen(row):
        assert row["revision"] > before["revision"]
    if before["status"] in FINAL_STATES:
        assert {name for name in row if row[name] != before[name]} <= MAY_CHANGE_AFTER_THE_END
        assert before["late_status"] in {None, row["late_status"]}


def seen(row):
    return view(Job(**row)).model_dump(exclude={"duration_s"})


# A failing walk is short enough to read; making it shorter would take minutes.
@pytest.mark.timeout(120)
def test_no_walk_breaks_a_promise(sqlite_template, redis_socket):
    run_state_machine_as_test(
        lambda: Lifecycle(sqlite_template, redis_socket),
        settings=settings(
            max_examples=16,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
