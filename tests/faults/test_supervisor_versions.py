"""Runs that another release of Locutus has begun: read where they can be, else told clearly and left alone."""

import asyncio
import json
import signal

import pytest

from tests.fakes.supervised import EXIT_WRITE, Supervised, begin, end, eventually, kill, specification
from worker.run_directory import ExitReason, RunSpecification, RunState, UnknownVersionError
from worker.supervision import cancel, end_orphan, refuse, start

STUBBORN = ("sh", "-c", "trap '' INT TERM; echo ready; while :; do sleep 0.1; done")
LATER = {"version": 2, "work": {"argv": ["true"]}}


def files_of(run):
    return {path.name: path.read_bytes() for path in run.path.iterdir()}


class TestSameVersion(Supervised):
    async def test_exit_with_more_than_this_release_knows_is_read(self, run, put_in):
        put_in('record = {**record, "io_bytes": 12}', EXIT_WRITE)
        await begin(run, specification("sh", "-c", "exit 7"))
        assert (await end(run)).code == 7
        assert b"io_bytes" in run.exit_file.read_bytes()
        assert run.state() is RunState.ENDED

    async def test_orphan_whose_specification_has_more_than_this_release_knows_is_ended(self, run):
        started = await begin(run, specification(*STUBBORN, terminate_patience_s=1.0))
        await eventually(lambda: run.stdout.read_text() == "ready\n")
        run.spec_file.write_text(json.dumps({**json.loads(run.spec_file.read_bytes()), "nice": 5}))
        kill(started.supervisor_pid)
        await end(run)
        await end_orphan(run)
        await eventually(lambda: run.state() is RunState.VANISHED)

    async def test_supervisor_of_whom_more_is_on_record_can_be_cancelled(self, run):
        await begin(run, specification("sleep", "60"))
        run.started_file.write_text(json.dumps({**run.supervisor(), "cgroup": "locutus.service"}))
        await asyncio.to_thread(cancel, run, "enough")
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.CANCELLED, -signal.SIGTERM)


class TestLaterVersion(Supervised):
    async def test_exit_is_told_as_unreadable_and_left_alone(self, run, put_in):
        put_in("VERSION = 2", "body = f")
        await asyncio.to_thread(start_only, run)
        await eventually(lambda: not run.supervised())
        before = files_of(run)
        for ask in (run.state, run.exit, lambda: refuse(run)):
            with pytest.raises(UnknownVersionError, match=r"version 2; this worker reads version 1: update it"):
                ask()
        assert files_of(run) == before
        assert before["exit"].partition(b" ")[2].startswith(b'2 {"reason": "exited", "code": 0')

    async def test_orphan_is_told_as_unreadable_and_left_alone(self, run):
        started = await begin(run, specification(*STUBBORN, terminate_patience_s=1.0))
        await eventually(lambda: run.stdout.read_text() == "ready\n")
        known = run.spec_file.read_bytes()
        run.spec_file.write_text(json.dumps(LATER))
        kill(started.supervisor_pid)
        await end(run)
        with pytest.raises(UnknownVersionError, match="version 2"):
            await end_orphan(run)
        assert run.state() is RunState.ORPHAN
        run.spec_file.write_bytes(known)
        await end_orphan(run)
        await eventually(lambda: run.state() is RunState.VANISHED)

    async def test_supervisor_can_be_cancelled_all_the_same(self, run):
        await begin(run, specification("sleep", "60"))
        run.spec_file.write_text(json.dumps(LATER))
        assert run.state() is RunState.RUNNING
        await asyncio.to_thread(cancel, run, "enough")
        assert (await end(run)).reason is ExitReason.CANCELLED


def start_only(run):
    start(run, specification("true"), {"PATH": "/usr/bin:/bin"}, None)


def test_specification_of_a_later_version_is_not_guessed_at():
    with pytest.raises(UnknownVersionError, match="version 2"):
        RunSpecification.from_json(json.dumps(LATER).encode())
