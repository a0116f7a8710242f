"""Runs on a repository behind ssh: what a stop, and what deaths leave on the other side.

In place of ssh stands a script of ours, for it alone decides who dies of which signal.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.fakes.supervised import (
    SupervisedBorg,
    borg_locks,
    end,
    eventually,
    has_pending,
    kill,
    specification,
)
from worker.run_directory import ExitReason, RunState
from worker.supervision import cancel

SAME_GROUP = """#!/bin/sh
shift
exec "$@"
"""

# As with ssh the server is in a session of its own; SIGINT ends this one, as it ends a jump host's connection.
OWN_SESSION = """#!/usr/bin/python3
import os, signal, subprocess, sys, threading
signal.signal(signal.SIGINT, signal.SIG_DFL)
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
def pass_on(source, target):
    while data := os.read(source, 65536):
        os.write(target, data)
    os.close(target)
threading.Thread(target=pass_on, args=(0, os.dup(server.stdin.fileno())), daemon=True).start()
server.stdin.close()
pass_on(server.stdout.fileno(), 1)
"""


def servers(directory):
    """The processes of borg's server that a test in this directory has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            argv, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if b"\0serve\0" in argv and str(directory).encode() in environment:
            found.append(int(process.name))
    return found


class TestRemoteRepository(SupervisedBorg):
    @pytest.fixture(params=[SAME_GROUP, OWN_SESSION], ids=["same group", "own session"])
    def remote_shell(self, request, tmp_path):
        script = tmp_path / "remote-shell"
        script.write_text(request.param)
        script.chmod(0o700)
        return script

    @pytest.fixture
    def environment(self, tmp_path, local_environment, remote_shell):
        return {**local_environment, "BORG_REPO": f"ssh://host{tmp_path}/repository", "BORG_RSH": str(remote_shell)}

    @pytest.fixture
    def in_the_middle(self, held_borg, tmp_path):
        """Hold a backup that is about to read its second file; its supervisor and borg."""
        (tmp_path / "sources" / "next").write_bytes(os.urandom(20_000_000))
        argv = ("borg", "create", "-C", "none", "--json", "::third", str(tmp_path / "sources"))

        async def in_the_middle(patience_s=30.0):
            wanted = specification(*argv, interrupt_first=True, interrupt_patience_s=patience_s)
            pids = await held_borg(wanted, r"\bnext None")
            assert borg_locks(tmp_path / "repository")
            assert servers(tmp_path)
            return pids

        return in_the_middle

    async def test_cancelled_backup_leaves_a_checkpoint_and_no_lock(
        self, run, in_the_middle, let_go, archives, tmp_path
    ):
        _, held = await in_the_middle()
        await asyncio.to_thread(cancel, run, "enough")
        await eventually(lambda: has_pending(held, signal.SIGINT))
        await asyncio.to_thread(let_go)
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.CANCELLED, 2)
        await eventually(lambda: servers(tmp_path) == [])
        assert borg_locks(tmp_path) == []
        assert "third.checkpoint" in archives("--consider-checkpoints")

    async def test_terminated_borg_gives_the_lock_back(self, run, held_borg, let_go, tmp_path):
        wanted = specification("borg", "extract", "::one", working_directory=str(tmp_path), terminate_patience_s=30.0)
        _, held = await held_borg(wanted, r"/sources/file w")
        await asyncio.to_thread(cancel, run, "enough")
        await eventually(lambda: has_pending(held, signal.SIGTERM))
        await asyncio.to_thread(let_go)
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.CANCELLED, 143)
        await eventually(lambda: servers(tmp_path) == [])
        assert borg_locks(tmp_path) == []

    async def test_killed_supervisor_leaves_neither_a_lock_nor_a_server(
        self, run, in_the_middle, let_go, archives, tmp_path
    ):
        supervisor, _ = await in_the_middle()
        kill(supervisor)
        await asyncio.to_thread(let_go)
        await end(run)
        await eventually(lambda: not run.borg_alive() and servers(tmp_path) == [])
        assert run.state() is RunState.VANISHED
        assert borg_locks(tmp_path) == []
        assert archives() == ["one", "two"]

    async def test_killed_with_borg_the_server_gives_the_lock_back_by_itself(
        self, run, in_the_middle, borg, archives, tmp_path
    ):
        kill(*await in_the_middle())
        await end(run)
        await eventually(lambda: not run.borg_alive() and servers(tmp_path) == [])
        assert run.state() is RunState.VANISHED
        assert borg_locks(tmp_path / "repository") == []
        borg("--lock-wait", "30", "create", "::after", str(tmp_path / "sources"))
        assert (archives(), borg_locks(tmp_path)) == (["one", "two", "after"], [])

    async def test_server_that_answers_no_more_does_not_keep_a_cancelled_run(
        self, run, in_the_middle, let_go, tmp_path
    ):
        await in_the_middle(patience_s=0.3)
        silent = servers(tmp_path)
        for server in silent:
            os.kill(server, signal.SIGSTOP)
        await asyncio.to_thread(let_go)
        await asyncio.to_thread(cancel, run, "enough")
        assert (await end(run)).reason is ExitReason.CANCELLED
        for server in silent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGCONT)
        await eventually(lambda: servers(tmp_path) == [])
