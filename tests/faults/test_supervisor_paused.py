"""A supervisor that is stopped at any of its points, and goes on later than anybody expected."""

import asyncio
import os
import signal

import pytest

from tests.fakes.supervised import (
    AFTER_END,
    AFTER_FORK,
    AFTER_HANDSHAKE,
    AFTER_SPAWN,
    AFTER_STARTED,
    BEFORE_SPAWN,
    BEFORE_STARTED,
    DEADLINE_S,
    ENVIRONMENT,
    EXIT_SYNC,
    EXIT_WRITE,
    PAUSE,
    Supervised,
    begin,
    boot_clock,
    end,
    eventually,
    is_stopped,
    specification,
)
from worker import supervision
from worker.run_directory import ExitReason, RunState
from worker.supervision import AlreadyStartedError, cancel, ended, refuse

POINTS = {
    "before started": (BEFORE_STARTED, RunState.STARTING),
    "after started": (AFTER_STARTED, RunState.RUNNING),
    "before the fork": (BEFORE_SPAWN, RunState.RUNNING),
    "after the fork": (AFTER_FORK, RunState.RUNNING),
    "before the handshake": (AFTER_SPAWN, RunState.RUNNING),
    "after the handshake": (AFTER_HANDSHAKE, RunState.RUNNING),
    "after the end": (AFTER_END, RunState.RUNNING),
    "before the exit": (EXIT_WRITE, RunState.RUNNING),
    "after the exit": (EXIT_SYNC, RunState.ENDED),
}


class TestSupervisorPaused(Supervised):
    @pytest.fixture
    def paused(self, run, put_in):
        """Start a run whose supervisor stops there: its pid, and the start, which may be waiting for it."""

        async def paused(wanted, point):
            put_in(PAUSE, point)
            starting = asyncio.create_task(begin(run, wanted))
            [pid] = await eventually(lambda: [pid for pid in supervision._holders(run.lock) if pid != os.getpid()])
            await eventually(lambda: is_stopped(pid))
            return pid, starting

        return paused

    @pytest.mark.parametrize("point", POINTS)
    async def test_at_any_point_the_run_is_neither_doubled_nor_lost(self, run, paused, tmp_path, monkeypatch, point):
        monkeypatch.setattr(supervision, "LOCK_PATIENCE_S", 0.05)
        line, state = POINTS[point]
        wanted = specification("sh", "-c", f"echo once >>{tmp_path}/ran")
        pid, starting = await paused(wanted, line)
        assert (run.state(), refuse(run)) == (state, False)
        with pytest.raises(AlreadyStartedError):
            await begin(run, wanted)
        os.kill(pid, signal.SIGCONT)
        await starting
        found = await end(run)
        assert (run.state(), found.reason, found.code) == (RunState.ENDED, ExitReason.EXITED, 0)
        assert (tmp_path / "ran").read_text() == "once\n"

    async def test_nothing_is_run_once_it_is_late(self, run, paused, tmp_path):
        late = boot_clock() + 0.5
        pid, starting = await paused(specification("touch", str(tmp_path / "ran"), start_before_s=late), BEFORE_STARTED)
        await eventually(lambda: boot_clock() > late)
        os.kill(pid, signal.SIGCONT)
        assert (await starting).failure.reason is ExitReason.NOT_STARTED
        await end(run)
        assert (run.state(), refuse(run), (tmp_path / "ran").exists()) == (RunState.ENDED, True, False)

    @pytest.mark.parametrize("point", [BEFORE_STARTED, AFTER_STARTED])
    async def test_cancel_before_the_last_look_is_not_lost(self, run, paused, tmp_path, point):
        pid, starting = await paused(specification("touch", str(tmp_path / "ran")), point)
        await asyncio.to_thread(cancel, run, "enough")
        os.kill(pid, signal.SIGCONT)
        await starting
        assert (await end(run)).reason is ExitReason.CANCELLED
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("point", [BEFORE_SPAWN, AFTER_FORK, AFTER_SPAWN, AFTER_HANDSHAKE])
    async def test_cancel_between_the_last_look_and_the_first_wait_ends_borg(self, run, paused, point):
        pid, starting = await paused(specification("sleep", "60", interrupt_first=True), point)
        await asyncio.to_thread(cancel, run, "enough")
        os.kill(pid, signal.SIGCONT)
        assert (await starting).borg_pid is not None
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.CANCELLED, -signal.SIGINT)

    @pytest.mark.parametrize("point", [AFTER_END, EXIT_WRITE, EXIT_SYNC])
    async def test_cancel_after_the_end_changes_nothing(self, run, paused, point):
        pid, starting = await paused(specification("true"), point)
        await asyncio.to_thread(cancel, run, "too late")
        os.kill(pid, signal.SIGCONT)
        await starting
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.EXITED, 0)

    async def test_waiting_begins_before_there_is_a_pid_on_record(self, run, paused):
        pid, starting = await paused(specification("true"), BEFORE_STARTED)
        waiting = asyncio.create_task(ended(run))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(waiting, starting)
        assert run.exit().code == 0


class TestUpgradeUnderALongRun(Supervised):
    async def test_nothing_is_imported_once_borg_runs(self, run, put_in):
        hook = (
            'sys.addaudithook(lambda event, args: event == "import" and os.write(2, f"imports {args[0]}\\n".encode()))'
        )
        put_in(hook, AFTER_HANDSHAKE)
        wanted = specification("sh", "-c", "echo out; echo err >&2; kill -STOP $$", timeout_s=0.2)
        await begin(run, wanted, ENVIRONMENT)
        assert (await end(run)).reason is ExitReason.TIMEOUT
        assert run.log.read_text() == "err\n"
