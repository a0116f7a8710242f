"""Real kills at each point of a run's life, and what a later worker sees: design's table, row by row.

A supervisor dies of its own hand, in a copy with one line put in; a worker is a process of its own that is killed.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fakes.supervised import (
    AFTER_END,
    AFTER_FORK,
    AFTER_HANDSHAKE,
    AFTER_SPAWN,
    AFTER_STARTED,
    BEFORE_STARTED,
    DEADLINE_S,
    DIE,
    ENVIRONMENT,
    EXIT_SYNC,
    EXIT_WRITE,
    PAUSE,
    Supervised,
    SupervisedBorg,
    begin,
    boot_clock,
    borg_locks,
    end,
    eventually,
    is_stopped,
    kill,
    specification,
)
from worker import supervision
from worker.run_directory import ExitReason, RunState
from worker.supervision import AlreadyStartedError, cancel, ended, refuse

ROOT = Path(supervision.__file__).parent.parent


class TestSupervisorOfBorgKilled(SupervisedBorg):
    async def test_before_started_borg_never_ran_and_the_run_can_be_refused(
        self, run, backup, environment, archives, put_in
    ):
        put_in(DIE, BEFORE_STARTED)
        started = await begin(run, backup, environment)
        assert (started.borg_pid, started.failure) == (None, None)
        await end(run)
        assert run.state() is RunState.NEVER_STARTED
        assert refuse(run)
        assert archives() == ["one", "two"]

    @pytest.mark.parametrize("point", [AFTER_STARTED, AFTER_FORK])
    async def test_between_started_and_handshake_the_run_has_vanished(
        self, run, backup, environment, archives, put_in, point
    ):
        put_in(DIE, point)
        started = await begin(run, backup, environment)
        assert (started.borg_pid, started.failure) == (None, None)
        await end(run)
        await eventually(lambda: not run.borg_alive())
        assert run.state() is RunState.VANISHED
        assert not refuse(run)
        with pytest.raises(AlreadyStartedError):
            await begin(run, backup, environment)
        assert archives() == ["one", "two"]
        assert borg_locks(run.path.parents[1]) == []

    @pytest.mark.parametrize("point", [AFTER_SPAWN, AFTER_HANDSHAKE])
    async def test_orphan_that_can_end_does_so_and_leaves_no_lock(
        self, run, long_backup, environment, archives, put_in, point
    ):
        put_in(DIE, point)
        await begin(run, long_backup, environment)
        await end(run)
        await eventually(lambda: not run.borg_alive())
        assert run.state() is RunState.VANISHED
        assert archives() == ["one", "two"]
        assert borg_locks(run.path.parents[1]) == []

    async def test_after_borgs_end_the_archive_is_there_though_the_run_has_vanished(
        self, run, backup, environment, archives, put_in
    ):
        put_in(DIE, AFTER_END)
        await begin(run, backup, environment)
        await end(run)
        assert run.state() is RunState.VANISHED
        assert archives() == ["one", "two", "first"]
        assert json.loads(run.stdout.read_bytes())["archive"]["name"] == "first"

    async def test_after_the_exit_nothing_is_lost(self, run, backup, environment, archives, put_in):
        put_in(f"os.fsync(descriptor); {DIE}", EXIT_SYNC)
        await begin(run, backup, environment)
        assert (await end(run)).code == 0
        assert run.state() is RunState.ENDED
        assert archives() == ["one", "two", "first"]


class TestSupervisorKilled(Supervised):
    async def test_orphan_without_output_ends_too(self, run):
        started = await begin(run, specification("sleep", "60"))
        kill(started.supervisor_pid)
        await end(run)
        await eventually(lambda: run.state() is RunState.VANISHED)

    async def test_exit_that_was_half_written_is_no_exit(self, run, put_in):
        put_in(f"os.pwrite(descriptor, exit_line(record)[:40], 0); {DIE}", EXIT_WRITE)
        await begin(run, specification("true"))
        assert await end(run) is None
        assert run.state() is RunState.VANISHED

    async def test_error_after_the_fork_is_never_told_as_not_started(self, run, put_in):
        put_in('raise OSError(24, "Too many open files")', "self.pidfd = ")
        await begin(run, specification("sleep", "60"))
        await end(run)
        await eventually(lambda: run.state() is RunState.VANISHED)

    async def test_defect_of_the_supervisor_is_told_in_the_log_and_ends_borg(self, run, put_in):
        put_in('raise RuntimeError("a defect")', AFTER_HANDSHAKE)
        await begin(run, specification("sleep", "60"))
        await end(run)
        await eventually(lambda: run.state() is RunState.VANISHED)
        assert "RuntimeError: a defect" in run.log.read_text()


WORKER = """
import os, signal, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[5])
from worker import supervision
from worker.run_directory import RunDirectory, RunSpecification

run, specification, environment, point = sys.argv[1], sys.argv[2], dict(os.environ), sys.argv[3]
popen = subprocess.Popen

def dying_popen(*arguments, **options):
    if point == "before the fork":
        os.kill(os.getpid(), signal.SIGKILL)
    popen(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

if point != "after the handshake":
    subprocess.Popen = dying_popen
supervision.SOURCE = Path(sys.argv[4])
supervision.start(RunDirectory(Path(run)), RunSpecification.from_json(specification.encode()), environment, None)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def worker_killed(point, run, wanted, environment):
    """Start a run in a worker that is killed there."""
    arguments = (str(run.path), wanted.to_json().decode(), point, str(supervision.SOURCE), str(ROOT))
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, *arguments, env=environment)
    async with asyncio.timeout(DEADLINE_S):
        assert await worker.wait() == -signal.SIGKILL


class TestWorkerOfBorgKilled(SupervisedBorg):
    async def test_before_the_fork_the_run_never_started_and_may_start_again(self, run, backup, environment, archives):
        await worker_killed("before the fork", run, backup, environment)
        assert run.state() is RunState.NEVER_STARTED
        await begin(run, backup, environment)
        assert (await end(run)).code == 0
        assert archives() == ["one", "two", "first"]

    @pytest.mark.parametrize("point", ["after the fork", "after the handshake"])
    async def test_later_the_run_is_adopted_and_borg_runs_exactly_once(self, run, backup, environment, archives, point):
        await worker_killed(point, run, backup, environment)
        assert run.state() in {RunState.STARTING, RunState.RUNNING, RunState.ENDED}
        with pytest.raises(AlreadyStartedError):
            await begin(run, backup, environment)
        assert (await end(run)).code == 0
        assert archives() == ["one", "two", "first"]

    async def test_with_supervisor_and_borg_the_run_has_vanished_and_borg_recovers(
        self, run, long_backup, environment, borg
    ):
        await worker_killed("after the handshake", run, long_backup, environment)
        await eventually(run.newest_progress)
        kill(run.supervisor()["pid"], *supervision._holders(run.borg_lock))
        await end(run)
        await eventually(lambda: not run.borg_alive())
        locks = borg_locks(run.path.parents[1])
        assert (run.state(), bool(locks)) == (RunState.VANISHED, True)
        assert borg("list", "--short", "--lock-wait", "30").split() == ["one", "two"]  # not yet stale: a zombie's lock
        assert not borg_locks(run.path.parents[1] / "repository")


class TestWorkerKilled(Supervised):
    async def test_adopted_run_can_be_followed_and_cancelled(self, run):
        await worker_killed("after the handshake", run, specification("sleep", "60", interrupt_first=True), ENVIRONMENT)
        assert run.state() is RunState.RUNNING
        following = asyncio.create_task(ended(run))
        await asyncio.to_thread(cancel, run, "enough")
        async with asyncio.timeout(DEADLINE_S):
            await following
        assert (run.exit().reason, run.exit().code) == (ExitReason.CANCELLED, -signal.SIGINT)

    async def test_time_limit_holds_without_a_worker(self, run):
        await worker_killed("after the handshake", run, specification("sleep", "60", timeout_s=0.3), ENVIRONMENT)
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.TIMEOUT, -signal.SIGTERM)

    async def test_late_supervisor_starts_nothing_without_a_worker(self, run, tmp_path, put_in):
        put_in(PAUSE, BEFORE_STARTED)
        late = boot_clock() + 0.5
        wanted = specification("touch", str(tmp_path / "ran"), start_before_s=late)
        await worker_killed("after the fork", run, wanted, ENVIRONMENT)
        [supervisor] = await eventually(lambda: supervision._holders(run.lock))
        await eventually(lambda: is_stopped(supervisor) and boot_clock() > late)
        os.kill(supervisor, signal.SIGCONT)
        assert (await end(run)).reason is ExitReason.NOT_STARTED
        assert (refuse(run), (tmp_path / "ran").exists()) == (True, False)

    async def test_with_its_supervisor_before_started_borg_never_ran(self, run, put_in):
        put_in(DIE, BEFORE_STARTED)
        await worker_killed("after the fork", run, specification("sleep", "60"), ENVIRONMENT)
        await end(run)
        assert (run.state(), refuse(run)) == (RunState.NEVER_STARTED, True)
