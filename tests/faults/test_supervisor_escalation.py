"""How a run is ended that does not want to end: the order of the signals, who gets them, and the patience between."""

import asyncio
import dataclasses
import os
import signal
import time

import pytest

from tests.fakes.supervised import Supervised, begin, end, eventually, kill, python, specification
from worker.run_directory import ExitReason, RunState
from worker.supervision import cancel, end_orphan, refuse

# A program and its child that note each signal with the time, and heed none.
RECORDER = """
import os, signal, sys, time
noted = os.open("noted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(what):
    os.write(noted, f"{time.monotonic()} {sys.argv[1]} {what}\\n".encode())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: note(signal.Signals(number).name))
if sys.argv[1] == "leader" and os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[2], "member", ""])
if sys.argv[1] == "member":
    note("ready")
while True:
    time.sleep(60)
"""
INTERRUPT_PATIENCE_S = 1.0
TERMINATE_PATIENCE_S = 2.0
LIMIT_S = 10.0  # many times what the recorder takes to be ready
ORPHANS_PATIENCE_S = 1.0  # two looks at all processes take a part of it
STUBBORN = ("sh", "-c", "trap '' INT TERM; echo ready; while :; do sleep 0.1; done")
STUBBORN_AND_BUSY = ("sh", "-c", "trap '' INT TERM; echo ready; while :; do : </dev/null; done")
STUBBORN_CHILD_ELSEWHERE = ("sh", "-c", "setsid sh -c 'trap \"\" INT TERM; echo ready; while :; do sleep 0.1; done' &")


class TestRunThatHeedsNothing(Supervised):
    @pytest.fixture
    def recorder(self, tmp_path):
        def recorder(**fields):
            base = specification(
                *python(RECORDER, "leader", RECORDER),
                interrupt_first=True,
                interrupt_patience_s=INTERRUPT_PATIENCE_S,
                terminate_patience_s=TERMINATE_PATIENCE_S,
                working_directory=str(tmp_path),
            )
            return dataclasses.replace(base, **fields)

        return recorder

    @pytest.fixture
    def noted(self, tmp_path):
        """What was noted but for the beginning, and when."""

        def noted():
            lines = [line.split() for line in (tmp_path / "noted").read_text().splitlines()]
            return [(f"{who} {what}", float(at)) for at, who, what in lines if what != "ready"]

        return noted

    @pytest.fixture
    def begun(self, run, tmp_path):
        noted_file = tmp_path / "noted"

        async def begun(wanted):
            started = await begin(run, wanted)
            await eventually(lambda: noted_file.exists() and "ready" in noted_file.read_text())
            return started

        return begun

    @pytest.mark.parametrize("reason", [ExitReason.CANCELLED, ExitReason.TIMEOUT])
    async def test_leader_is_interrupted_and_terminated_and_the_group_killed(self, run, begun, recorder, noted, reason):
        earliest = time.monotonic() + LIMIT_S
        await begun(recorder(timeout_s=LIMIT_S if reason is ExitReason.TIMEOUT else 60.0))
        if reason is ExitReason.CANCELLED:
            earliest = time.monotonic()
            await asyncio.to_thread(cancel, run, "enough")
        found = await end(run)
        killed = time.monotonic()
        assert (found.reason, found.code) == (reason, -signal.SIGKILL)
        (first, interrupted), (second, terminated) = noted()
        assert (first, second) == ("leader SIGINT", "leader SIGTERM")
        # Not between two notes: a busy host lets the recorder note a signal late.
        for at, after_s in (
            (interrupted, 0),
            (terminated, INTERRUPT_PATIENCE_S),
            (killed, INTERRUPT_PATIENCE_S + TERMINATE_PATIENCE_S),
        ):
            assert at - earliest >= after_s
        await eventually(lambda: not run.borg_alive())

    async def test_what_does_not_heed_an_interrupt_is_terminated_at_once(self, run, begun, recorder, noted):
        await begun(recorder(interrupt_first=False))
        await asyncio.to_thread(cancel, run, "enough")
        assert (await end(run)).code == -signal.SIGKILL
        assert [what for what, _ in noted()] == ["leader SIGTERM"]

    @pytest.mark.parametrize("seen", ["leader SIGINT", "leader SIGTERM"])
    async def test_second_cancel_during_a_step_changes_no_step(self, run, begun, recorder, noted, seen):
        await begun(recorder())
        await asyncio.to_thread(cancel, run, "enough")
        await eventually(lambda: seen in dict(noted()))
        await asyncio.to_thread(cancel, run, "really")
        assert (await end(run)).reason is ExitReason.CANCELLED
        assert [what for what, _ in noted()] == ["leader SIGINT", "leader SIGTERM"]

    async def test_time_limit_that_passes_during_a_cancel_changes_nothing(self, run, begun, recorder, noted):
        await begun(recorder(timeout_s=LIMIT_S, interrupt_patience_s=LIMIT_S))
        asked = time.monotonic()
        await asyncio.to_thread(cancel, run, "enough")
        assert (await end(run)).reason is ExitReason.CANCELLED
        (_, _), (_, terminated) = noted()
        assert terminated - asked >= LIMIT_S  # the limit passed before

    async def test_cancel_after_the_time_limit_leaves_the_reason(self, run, begun, recorder, noted):
        await begun(recorder(timeout_s=LIMIT_S))
        await eventually(noted)
        await asyncio.to_thread(cancel, run, "too late")
        assert (await end(run)).reason is ExitReason.TIMEOUT

    async def test_host_that_goes_down_ends_the_run_and_cancels_nothing(self, run, begun, recorder, noted):
        started = await begun(recorder())
        os.kill(started.supervisor_pid, signal.SIGTERM)
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.EXITED, -signal.SIGKILL)
        assert [what for what, _ in noted()] == ["leader SIGINT", "leader SIGTERM"]

    async def test_orphan_and_its_child_get_every_step_in_turn(self, run, begun, recorder, noted):
        started = await begun(recorder(interrupt_patience_s=2.0, terminate_patience_s=2.0))
        kill(started.supervisor_pid)
        await end(run)
        await eventually(lambda: [what for what, _ in noted()] == ["leader SIGTERM"])  # of the supervisor's death
        begun_at = time.monotonic()
        await end_orphan(run)
        assert time.monotonic() - begun_at >= 4.0
        assert run.state() is RunState.VANISHED
        first, second = ("leader SIGINT", "member SIGINT"), ("leader SIGTERM", "member SIGTERM")
        told = [what for what, _ in noted()][1:]
        assert (set(told[:2]), set(told[2:])) == (set(first), set(second))


class TestOrphan(Supervised):
    @pytest.mark.parametrize("argv", [STUBBORN, STUBBORN_AND_BUSY])
    async def test_stubborn_orphan_keeps_the_lane_until_it_is_ended(self, run, argv):
        started = await begin(run, specification(*argv, terminate_patience_s=ORPHANS_PATIENCE_S))
        await eventually(lambda: run.stdout.read_text() == "ready\n")
        kill(started.supervisor_pid)
        await end(run)
        assert (run.state(), run.borg_alive(), refuse(run)) == (RunState.ORPHAN, True, False)
        await end_orphan(run)
        await eventually(lambda: not run.borg_alive())
        assert (run.state(), run.borg_alive(), refuse(run)) == (RunState.VANISHED, False, False)

    async def test_those_who_ask_about_an_orphan_are_not_ended_with_it(self, run):
        started = await begin(run, specification(*STUBBORN, terminate_patience_s=ORPHANS_PATIENCE_S))
        await eventually(lambda: run.stdout.read_text() == "ready\n")
        kill(started.supervisor_pid)
        with run.borg_lock.open("rb"):
            await end_orphan(run)
        await eventually(lambda: run.state() is RunState.VANISHED)

    async def test_child_that_left_the_group_keeps_the_lane_until_it_is_ended(self, run):
        await begin(run, specification(*STUBBORN_CHILD_ELSEWHERE, terminate_patience_s=ORPHANS_PATIENCE_S))
        assert (await end(run)).code == 0
        assert (run.state(), run.borg_alive()) == (RunState.ENDED, True)
        await end_orphan(run)
        await eventually(lambda: not run.borg_alive())

    async def test_child_that_left_the_group_outlives_a_cancel_but_not_the_end_of_the_orphan(self, run):
        script = f"{STUBBORN_CHILD_ELSEWHERE[2]} trap '' INT TERM; while :; do sleep 0.1; done"
        await begin(run, specification("sh", "-c", script, terminate_patience_s=ORPHANS_PATIENCE_S))
        await eventually(lambda: run.stdout.read_text() == "ready\n")
        await asyncio.to_thread(cancel, run, "enough")
        found = await end(run)
        assert (found.reason, found.code, run.borg_alive()) == (ExitReason.CANCELLED, -signal.SIGKILL, True)
        await end_orphan(run)
        await eventually(lambda: not run.borg_alive())
