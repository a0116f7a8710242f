"""Real kills at each point of a run's life, and what a later worker sees: design's table, row by row.

A supervisor dies of its own hand, in a copy with one line put in; a worker is a process of its own that is killed.
"""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker import supervision
from worker.run_directory import ExitReason, RunDirectory, RunSpecification, RunState
from worker.supervision import AlreadyStartedError, cancel, end_orphan, ended, refuse, start

ROOT = Path(supervision.__file__).parent.parent
DEADLINE_S = 20.0
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
PAUSE = "os.kill(os.getpid(), signal.SIGSTOP)"

BEFORE_STARTED = 'replace("started"'
AFTER_STARTED = 'if os.path.exists("cancel"):  # looked for'
AFTER_FORK = "for given in (lock"
AFTER_SPAWN = "with errors_ignored:  # the worker may have died"
AFTER_HANDSHAKE = "output, log = Output(1), Log(2)"
AFTER_END = "return borg.reap("
EXIT_WRITE = "os.pwrite(descriptor"
EXIT_SYNC = "os.fsync(descriptor)"


def watch(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


async def eventually(condition):
    return await asyncio.to_thread(watch, condition)


@pytest.fixture
def put_in(tmp_path, monkeypatch):
    """Have the supervisor run a line of ours just before the one line that begins as told."""

    def put_in(line, before):
        source = supervision.SOURCE.read_text().splitlines(keepends=True)
        places = [number for number, text in enumerate(source) if text.strip().startswith(before)]
        assert len(places) == 1, f"the supervisor has {len(places)} lines that begin with {before!r}"
        indentation = source[places[0]].partition(before)[0]
        source.insert(places[0], f"{indentation}{line}\n")
        copy = tmp_path / "supervisor.py"
        copy.write_text("".join(source))
        monkeypatch.setattr(supervision, "SUPERVISOR", copy)

    return put_in


@pytest.fixture
def run(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    return RunDirectory.of(runs, 1, 1)


@pytest.fixture
def environment(tmp_path):
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "BORG_BASE_DIR": str(tmp_path / "base"),
        "BORG_REPO": str(tmp_path / "repository"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }


@pytest.fixture
def borg(environment, tmp_path):
    def borg(*arguments):
        return subprocess.run(
            ["borg", *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    borg("init", "--encryption", "none")
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "file").write_bytes(os.urandom(100_000))
    return borg


@pytest.fixture
def backup(tmp_path):
    return specification("borg", "create", "--progress", "--log-json", "--json", "::first", str(tmp_path / "sources"))


@pytest.fixture
def long_backup(backup, tmp_path):
    with (tmp_path / "sources" / "long").open("wb") as file:
        file.truncate(1 << 40)
    return backup


def specification(*argv, **fields):
    base = RunSpecification(
        job_id=1,
        attempt=1,
        kind="backup",
        argv=argv,
        timeout_s=60.0,
        start_before_s=time.clock_gettime(time.CLOCK_BOOTTIME) + 60.0,
        interrupt_first=True,
        interrupt_patience_s=0.3,
        terminate_patience_s=0.3,
    )
    return dataclasses.replace(base, **fields)


def borg_locks(environment):
    return list(Path(environment["BORG_REPO"]).glob("lock.*"))


def kill_tree(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for doomed in (pid, *map(int, children)):
        os.kill(doomed, signal.SIGKILL)


STUBBORN = ("sh", "-c", "trap '' INT TERM; echo ready; while :; do sleep 0.1; done")

STUBBORN_AND_BUSY = ("sh", "-c", "trap '' INT TERM; echo ready; while :; do : </dev/null; done")


class TestSupervisorKilled:
    async def test_before_started_borg_never_ran_and_the_run_can_be_refused(
        self, run, borg, backup, environment, put_in
    ):
        put_in(DIE, BEFORE_STARTED)
        started = await asyncio.to_thread(start, run, backup, environment, None)
        assert (started.borg_pid, started.failure) == (None, None)
        await ended(run)
        assert run.state() is RunState.NEVER_STARTED
        assert refuse(run)
        assert borg("list", "--short") == ""

    @pytest.mark.parametrize("point", [AFTER_STARTED, AFTER_FORK])
    async def test_between_started_and_handshake_the_run_has_vanished(
        self, run, borg, backup, environment, put_in, point
    ):
        put_in(DIE, point)
        started = await asyncio.to_thread(start, run, backup, environment, None)
        assert (started.borg_pid, started.failure) == (None, None)
        await ended(run)
        await eventually(lambda: not run.borg_alive())
        assert run.state() is RunState.VANISHED
        assert not refuse(run)
        with pytest.raises(AlreadyStartedError):
            await asyncio.to_thread(start, run, backup, environment, None)
        assert borg("list", "--short") == ""
        assert not borg_locks(environment)

    @pytest.mark.parametrize("point", [AFTER_SPAWN, AFTER_HANDSHAKE])
    async def test_orphan_that_can_end_does_so_and_leaves_no_lock(
        self, run, borg, long_backup, environment, put_in, point
    ):
        put_in(DIE, point)
        await asyncio.to_thread(start, run, long_backup, environment, None)
        await ended(run)
        await eventually(lambda: not run.borg_alive())
        assert run.state() is RunState.VANISHED
        assert borg("list", "--short") == ""
        assert not borg_locks(environment)

    async def test_orphan_without_output_ends_too(self, run, environment):
        started = await asyncio.to_thread(start, run, specification("sleep", "60"), environment, None)
        os.kill(started.supervisor_pid, signal.SIGKILL)
        await ended(run)
        await eventually(lambda: run.state() is RunState.VANISHED)

    @pytest.mark.parametrize("argv", [STUBBORN, STUBBORN_AND_BUSY])
    async def test_stubborn_orphan_keeps_the_lane_until_it_is_ended(self, run, environment, argv):
        started = await asyncio.to_thread(start, run, specification(*argv), environment, None)
        await eventually(lambda: run.stdout.read_text() == "ready\n")
        os.kill(started.supervisor_pid, signal.SIGKILL)
        await ended(run)
        assert (run.state(), run.borg_alive(), refuse(run)) == (RunState.ORPHAN, True, False)
        await asyncio.wait_for(end_orphan(run), DEADLINE_S)
        assert (run.state(), run.borg_alive(), refuse(run)) == (RunState.VANISHED, False, False)

    async def test_those_who_ask_about_an_orphan_are_not_ended_with_it(self, run, environment):
        started = await asyncio.to_thread(start, run, specification(*STUBBORN), environment, None)
        await eventually(lambda: run.stdout.read_text() == "ready\n")
        os.kill(started.supervisor_pid, signal.SIGKILL)
        with run.borg_lock.open("rb"):
            await asyncio.wait_for(end_orphan(run), DEADLINE_S)
        assert run.state() is RunState.VANISHED

    async def test_after_borgs_end_the_archive_is_there_though_the_run_has_vanished(
        self, run, borg, backup, environment, put_in
    ):
        put_in(DIE, AFTER_END)
        await asyncio.to_thread(start, run, backup, environment, None)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert run.state() is RunState.VANISHED
        assert borg("list", "--short") == "first\n"
        assert json.loads(run.stdout.read_bytes())["archive"]["name"] == "first"

    async def test_after_the_exit_nothing_is_lost(self, run, borg, backup, environment, put_in):
        put_in(f"os.fsync(descriptor); {DIE}", EXIT_SYNC)
        await asyncio.to_thread(start, run, backup, environment, None)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.state(), run.exit().code) == (RunState.ENDED, 0)
        assert borg("list", "--short") == "first\n"

    async def test_exit_that_was_half_written_is_no_exit(self, run, environment, put_in):
        put_in(f"os.pwrite(descriptor, exit_line(record)[:40], 0); {DIE}", EXIT_WRITE)
        await asyncio.to_thread(start, run, specification("true"), environment, None)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.state(), run.exit()) == (RunState.VANISHED, None)

    async def test_error_after_the_fork_is_never_told_as_not_started(self, run, environment, put_in):
        put_in('raise OSError(24, "Too many open files")', "self.pidfd = ")
        await asyncio.to_thread(start, run, specification("sleep", "60"), environment, None)
        await ended(run)
        await eventually(lambda: run.state() is RunState.VANISHED)

    async def test_defect_of_the_supervisor_is_told_in_the_log_and_ends_borg(self, run, environment, put_in):
        put_in('raise RuntimeError("a defect")', AFTER_HANDSHAKE)
        await asyncio.to_thread(start, run, specification("sleep", "60"), environment, None)
        await ended(run)
        await eventually(lambda: run.state() is RunState.VANISHED)
        assert "RuntimeError: a defect" in run.log.read_text()


class TestSupervisorPaused:
    async def paused(self, run, environment, wanted):
        starting = asyncio.create_task(asyncio.to_thread(start, run, wanted, environment, None))
        await eventually(lambda: run.path in supervision._children)
        pid = supervision._children[run.path].pid
        await eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T"))
        return pid, starting

    async def test_it_counts_as_starting_and_runs_nothing_once_it_is_late(self, run, tmp_path, environment, put_in):
        put_in(PAUSE, BEFORE_STARTED)
        late = time.clock_gettime(time.CLOCK_BOOTTIME) + 0.5
        wanted = specification("touch", str(tmp_path / "ran"), start_before_s=late)
        pid, starting = await self.paused(run, environment, wanted)
        assert (run.state(), refuse(run)) == (RunState.STARTING, False)
        await eventually(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > late)
        os.kill(pid, signal.SIGCONT)
        assert (await starting).failure.reason is ExitReason.NOT_STARTED
        await ended(run)
        assert (run.state(), refuse(run), (tmp_path / "ran").exists()) == (RunState.ENDED, True, False)

    @pytest.mark.parametrize("point", [BEFORE_STARTED, AFTER_STARTED])
    async def test_cancel_at_that_moment_is_not_lost(self, run, tmp_path, environment, put_in, point):
        put_in(PAUSE, point)
        pid, starting = await self.paused(run, environment, specification("touch", str(tmp_path / "ran")))
        await asyncio.to_thread(cancel, run, "enough")
        os.kill(pid, signal.SIGCONT)
        await starting
        await ended(run)
        assert run.exit().reason is ExitReason.CANCELLED
        assert not (tmp_path / "ran").exists()

    async def test_cancel_between_the_last_look_and_the_start_ends_borg(self, run, environment, put_in):
        put_in(PAUSE, "late = time.clock_gettime(")
        pid, starting = await self.paused(run, environment, specification("sleep", "60"))
        await asyncio.to_thread(cancel, run, "enough")
        os.kill(pid, signal.SIGCONT)
        assert (await starting).borg_pid is not None
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.exit().reason, run.exit().code) == (ExitReason.CANCELLED, -signal.SIGINT)

    async def test_waiting_begins_before_there_is_a_pid_on_record(self, run, environment, put_in):
        put_in(PAUSE, BEFORE_STARTED)
        pid, starting = await self.paused(run, environment, specification("true"))
        waiting = asyncio.create_task(ended(run))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGCONT)
        await asyncio.wait_for(asyncio.gather(waiting, starting), DEADLINE_S)
        assert run.exit().code == 0


WORKER = """
import os, signal, subprocess, sys, time
from pathlib import Path
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
supervision.SUPERVISOR = Path(sys.argv[4])
supervision.start(RunDirectory(Path(run)), RunSpecification.from_json(specification.encode()), environment, None)
os.kill(os.getpid(), signal.SIGKILL)
"""


class TestWorkerKilled:
    async def kill_at(self, point, run, wanted, environment):
        arguments = [str(run.path), wanted.to_json().decode(), point, str(supervision.SUPERVISOR)]
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{WORKER}",
            *arguments,
            env=environment,
        )
        assert await asyncio.wait_for(worker.wait(), DEADLINE_S) == -signal.SIGKILL

    async def test_before_the_fork_the_run_never_started_and_may_start_again(self, run, borg, backup, environment):
        await self.kill_at("before the fork", run, backup, environment)
        assert run.state() is RunState.NEVER_STARTED
        await asyncio.to_thread(start, run, backup, environment, None)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.exit().code, borg("list", "--short")) == (0, "first\n")

    @pytest.mark.parametrize("point", ["after the fork", "after the handshake"])
    async def test_later_the_run_is_adopted_and_borg_runs_exactly_once(self, run, borg, backup, environment, point):
        await self.kill_at(point, run, backup, environment)
        assert run.state() in {RunState.STARTING, RunState.RUNNING, RunState.ENDED}
        with pytest.raises(AlreadyStartedError):
            await asyncio.to_thread(start, run, backup, environment, None)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.state(), run.exit().code) == (RunState.ENDED, 0)
        assert borg("list", "--short") == "first\n"

    async def test_adopted_run_can_be_followed_and_cancelled(self, run, environment):
        await self.kill_at("after the handshake", run, specification("sleep", "60"), environment)
        assert run.state() is RunState.RUNNING
        following = asyncio.create_task(ended(run))
        await asyncio.to_thread(cancel, run, "enough")
        await asyncio.wait_for(following, DEADLINE_S)
        assert (run.exit().reason, run.exit().code) == (ExitReason.CANCELLED, -signal.SIGINT)

    async def test_with_its_supervisor_before_started_borg_never_ran(self, run, environment, put_in):
        put_in(DIE, BEFORE_STARTED)
        await self.kill_at("after the fork", run, specification("sleep", "60"), environment)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.state(), refuse(run)) == (RunState.NEVER_STARTED, True)

    async def test_with_supervisor_and_borg_the_run_has_vanished_and_borg_recovers(
        self, run, borg, long_backup, environment
    ):
        await self.kill_at("after the handshake", run, long_backup, environment)
        await eventually(run.newest_progress)
        kill_tree(run.supervisor()["pid"])
        await asyncio.wait_for(ended(run), DEADLINE_S)
        await eventually(lambda: not run.borg_alive())
        assert (run.state(), bool(borg_locks(environment))) == (RunState.VANISHED, True)
        assert borg("list", "--short", "--lock-wait", "30") == ""  # a zombie's lock is not yet stale
        assert not borg_locks(environment)


class TestUpgradeUnderALongRun:
    async def test_nothing_is_imported_once_borg_runs(self, run, environment, put_in):
        hook = (
            'sys.addaudithook(lambda event, args: event == "import" and os.write(2, f"imports {args[0]}\\n".encode()))'
        )
        put_in(hook, AFTER_HANDSHAKE)
        wanted = specification("sh", "-c", "echo out; echo err >&2; kill -STOP $$", timeout_s=0.2)
        await asyncio.to_thread(start, run, wanted, environment, None)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.exit().reason, run.log.read_text()) == (ExitReason.TIMEOUT, "err\n")
