"""Runs under a real supervisor for tests that kill it: fixtures to inherit, and points at which it, or borg, stops."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from worker import supervision
from worker.run_directory import Exit, RunDirectory, RunSpecification
from worker.supervision import Started, ended, start

DEADLINE_S = 30.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

DIE = "os.kill(os.getpid(), signal.SIGKILL)"
PAUSE = "os.kill(os.getpid(), signal.SIGSTOP)"
BEFORE_STARTED = 'replace("started"'
AFTER_STARTED = 'if os.path.exists("cancel"):  # looked for'
BEFORE_SPAWN = "late = time.clock_gettime("
AFTER_FORK = "for given in (lock"
AFTER_SPAWN = "with errors_ignored:  # the worker may have died"
AFTER_HANDSHAKE = "output, log = Output(1), Log(2)"
AFTER_END = "return borg.reap("
EXIT_WRITE = "os.pwrite(descriptor"
EXIT_SYNC = "os.fsync(descriptor)"

# Not by SIGSTOP: to a stopped group that the supervisor's death orphans the kernel sends a SIGHUP beside all else.
_HELD_BORG = """
import os, re, signal, sys

def hold(event, arguments):
    global wanted
    if event == "open" and wanted and "serve" not in sys.argv:
        if re.search(wanted, f"{arguments[0]} {arguments[1]}"):
            wanted, here = None, os.path.dirname(__file__)
            waiting = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            os.close(os.open(os.path.join(here, "held"), os.O_CREAT | os.O_WRONLY))
            os.close(os.open(os.path.join(here, "gate"), os.O_RDONLY))
            signal.pthread_sigmask(signal.SIG_SETMASK, waiting)

wanted = os.environ["HOLD_AT_OPEN"]
sys.addaudithook(hold)
"""


def boot_clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def specification(*argv: str, **fields: Any) -> RunSpecification:
    """A run of this command, with little patience."""
    given = {
        "job_id": 1,
        "attempt": 1,
        "kind": "backup",
        "argv": argv,
        "timeout_s": 60.0,
        "start_before_s": boot_clock() + 60.0,
        "interrupt_patience_s": 0.3,
        "terminate_patience_s": 0.3,
    }
    return RunSpecification(**{**given, **fields})


def python(source: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source, *arguments)


async def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until something holds of a foreign process; what the condition is then."""
    found: list[Any] = []

    def holds() -> Any:
        found[:] = [condition()]
        return found[0]

    await asyncio.to_thread(wait_until, holds, DEADLINE_S)
    return found[0]


async def begin(run: RunDirectory, wanted: RunSpecification, environment: dict[str, str] | None = None) -> Started:
    return await asyncio.to_thread(start, run, wanted, environment or ENVIRONMENT, None)


async def end(run: RunDirectory) -> Exit | None:
    """The exit of a run, if there is one, once its supervisor is gone."""
    async with asyncio.timeout(DEADLINE_S):
        await ended(run)
    return run.exit()


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because of a SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def has_pending(pid: int, number: int) -> bool:
    """Whether a signal waits for a process that is held."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool((int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)) & 1 << (number - 1))


def borg_locks(directory: Path) -> list[Path]:
    """The locks of borg's repository, and of its cache, that stand below a directory."""
    return list(directory.rglob("lock.exclusive")) + list(directory.rglob("lock.roster"))


def borg_environment(directory: Path) -> dict[str, str]:
    return {
        **ENVIRONMENT,
        "BORG_BASE_DIR": str(directory / "base"),
        "BORG_REPO": str(directory / "repository"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }


def supervisor_with(line: str, before: str, copy: Path) -> Path:
    """A copy of the supervisor that runs a line of ours just before the one line that begins as told."""
    source = supervision.SOURCE.read_text().splitlines(keepends=True)
    places = [number for number, text in enumerate(source) if text.strip().startswith(before)]
    assert len(places) == 1, f"the supervisor has {len(places)} lines that begin with {before!r}"
    indentation = source[places[0]].partition(before)[0]
    source.insert(places[0], f"{indentation}{line}\n")
    copy.write_text("".join(source))
    return copy


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Supervised:
    """Fixtures for the test classes that inherit them."""

    @pytest.fixture
    def run(self, tmp_path):
        runs = tmp_path / "runs"
        runs.mkdir()
        run = RunDirectory.of(runs, 1, 1)
        yield run
        for lock in (run.lock, run.borg_lock):  # a test that failed must leave nothing to run on
            kill(*({*supervision._holders(lock)} - {os.getpid()} if lock.exists() else ()))

    @pytest.fixture
    def put_in(self, tmp_path, monkeypatch):
        """Have the supervisor run a line of ours just before the one line that begins as told."""

        return lambda line, before: monkeypatch.setattr(
            supervision, "SOURCE", supervisor_with(line, before, tmp_path / "supervisor.py")
        )


class SupervisedBorg(Supervised):
    """The same for a real borg, with a repository of two archives, of which `prune` would take one."""

    @pytest.fixture(scope="class")
    @classmethod
    def made_once(cls, tmp_path_factory):
        made = tmp_path_factory.mktemp("made")
        environment = borg_environment(made)
        _borg(environment, "init", "--encryption", "none")
        (made / "sources").mkdir()
        for name in ("one", "two"):
            (made / "sources" / "file").write_bytes(os.urandom(300_000))
            _borg(environment, "create", f"::{name}", str(made / "sources"))
        return made

    @pytest.fixture
    def local_environment(self, tmp_path, made_once):
        for name in ("base", "repository", "sources"):
            subprocess.run(["cp", "-a", made_once / name, tmp_path], check=True)
        return borg_environment(tmp_path)

    @pytest.fixture
    def environment(self, local_environment):
        return local_environment

    @pytest.fixture
    def borg(self, environment):
        return lambda *arguments: _borg(environment, *arguments)

    @pytest.fixture
    def archives(self, borg):
        return lambda *options: borg("list", "--short", *options).split()

    @pytest.fixture
    def backup(self, local_environment):
        sources = Path(local_environment["BORG_REPO"]).with_name("sources")
        options = ("--progress", "--log-json", "--json")
        return specification("borg", "create", *options, "::first", str(sources), interrupt_first=True)

    @pytest.fixture
    def long_backup(self, backup):
        with Path(backup.argv[-1], "long").open("wb") as file:
            file.truncate(1 << 40)
        return backup

    @pytest.fixture
    def gate(self, tmp_path):
        """At which borg is held; until it is let go, signals wait for it."""
        (tmp_path / "hold").mkdir()
        (tmp_path / "hold" / "sitecustomize.py").write_text(_HELD_BORG)
        gate = tmp_path / "hold" / "gate"
        os.mkfifo(gate)
        return gate

    @pytest.fixture
    def let_go(self, gate):
        return lambda: gate.open("wb").close()

    @pytest.fixture
    def held_borg(self, run, environment, gate):
        """Start borg and have it held where it opens a file: "PATH MODE" matches the pattern. Supervisor and borg."""

        async def held_borg(wanted, pattern):
            given = {**environment, "PYTHONPATH": str(gate.parent), "HOLD_AT_OPEN": pattern}
            started = await begin(run, wanted, given)
            assert started.borg_pid is not None, started
            await eventually(gate.with_name("held").exists)
            return started.supervisor_pid, started.borg_pid

        return held_borg


def _borg(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(["borg", *arguments], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
