"""Each borg command whose supervisor is killed in the middle of it: it ends soon, and the repository stays good."""

import asyncio
import signal

import pytest

from tests.fakes.supervised import SupervisedBorg, borg_locks, end, eventually, has_pending, kill, specification
from worker.run_directory import RunState

NEW_SEGMENT = r"/data/0/\d+ x"
OLD_SEGMENT = r"/data/0/\d+ r"

COMMANDS = {
    "create": (("create", "--json", "::third", "{sources}"), NEW_SEGMENT),
    "prune": (("prune", "--keep-last", "1"), NEW_SEGMENT),
    "compact": (("compact", "--threshold", "0"), NEW_SEGMENT),
    "check": (("check", "--verify-data"), OLD_SEGMENT),
    "list": (("list", "--json-lines", "::one"), OLD_SEGMENT),
    "extract": (("extract", "::one"), r"/sources/file w"),
}


@pytest.mark.parametrize("command", COMMANDS)
class TestBorgWhoseSupervisorIsKilled(SupervisedBorg):
    @pytest.fixture
    async def in_the_middle(self, command, borg, held_borg, tmp_path):
        """Supervisor and borg, which holds a lock of the repository and is held at its work."""
        argv, pattern = COMMANDS[command]
        if command == "compact":
            borg("delete", "::one")
        sources = str(tmp_path / "sources")
        arguments = [argument.format(sources=sources) for argument in argv]
        (tmp_path / "target").mkdir()
        wanted = specification("borg", *arguments, working_directory=str(tmp_path / "target"))
        pids = await held_borg(wanted, pattern)
        assert borg_locks(tmp_path / "repository")
        return pids

    @pytest.fixture
    def is_good(self, command, borg, archives, tmp_path):
        """Whether the next backup has no need to wait, and borg finds nothing wrong, and nothing missing."""

        def is_good():
            borg(
                "--lock-wait", "30", "create", "::after", str(tmp_path / "sources")
            )  # a zombie's lock is not yet stale
            borg("check")
            return archives() == [*(["one"] if command != "compact" else []), "two", "after"]

        return is_good

    async def test_ends_at_once_and_leaves_no_lock(self, run, in_the_middle, let_go, is_good, tmp_path):
        supervisor, held = in_the_middle
        kill(supervisor)
        await end(run)
        assert run.state() is RunState.ORPHAN
        assert has_pending(held, signal.SIGTERM)
        await asyncio.to_thread(let_go)
        await eventually(lambda: not run.borg_alive())
        assert run.state() is RunState.VANISHED
        assert borg_locks(tmp_path) == []
        assert is_good()

    async def test_killed_with_it_leaves_a_lock_that_the_next_borg_clears(self, run, in_the_middle, is_good, tmp_path):
        kill(*in_the_middle)
        await end(run)
        await eventually(lambda: not run.borg_alive())
        assert run.state() is RunState.VANISHED
        assert borg_locks(tmp_path / "repository")
        assert is_good()
        assert borg_locks(tmp_path) == []
