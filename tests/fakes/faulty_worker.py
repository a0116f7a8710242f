"""`locutus` whose process sends itself a signal the first time that it comes to one point.

    python -m tests.fakes.faulty_worker [--set MODULE:NAME=VALUE …] [--at POINT=SIGNAL] worker

The signal goes to the very thread that is there, so that not one instruction more is run.
"""

import argparse
import asyncio
import functools
import importlib
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.__main__ import main
from jobs.database import unit


def _always(*_: Any) -> bool:
    return True


@dataclass(frozen=True)
class Point:
    """Before or after a call of `name` in `module`; `when` is given the call's result (None before it), `arguments`."""

    module: str
    name: str
    after: bool = True
    when: Callable[..., bool] = _always


POINTS = {
    "claimed": Point("worker.runs", "claim_next", when=lambda job, *_: job is not None),
    "directory": Point("worker.supervision", "make"),
    "locked": Point("worker.supervision", "_start_supervisor", after=False),
    "forked": Point("worker.supervision", "_start_supervisor"),
    "running": Point(
        "worker.recording", "Recorder.tick", when=lambda _, __, runs: any(run.progress.nfiles for run in runs)
    ),
    "exited": Point("worker.supervision", "ended"),
    "recording": Point("worker.recording", "_end_job"),
    "cancelling": Point("worker.supervision", "cancel", after=False),
    "committed": Point("jobs.queue", "wake_host", after=False),
    "recorded": Point("worker.run_directory", "RunDirectory.remove", after=False),
    "delivering": Point("webhooks.outbound", "WebhookSender.send"),
    "posted": Point("bot.slack.client", "SlackPlatform.post"),
    "editing": Point("bot.slack.client", "SlackPlatform.edit", after=False),
}
"""In the order of a job's life. At `locked` and `forked` the worker holds the lock of the run directory, at `recording`
the database's transaction is still open, at `committed` nobody has been told of it.
"""

TICK_POINTS = {
    "taking": Point("jobs.schedule.tick", "_claim", when=lambda taken, *_: taken > 0),
    "starting": Point("jobs.schedule.tick", "_start"),
    "between": Point("jobs.schedule.tick", "_guarded"),
}
"""In the order of a tick: at `taking` and `starting` a transaction is open, at `between` one of the runs is started."""


HOLD_UNTIL_PAUSED = """
import sqlite3, sys, time
path, pid = sys.argv[1:]
database = sqlite3.connect(path, timeout=60, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
while open(f"/proc/{pid}/stat").read().rpartition(") ")[2][0] not in "TZ":
    time.sleep(0.002)
"""
"""A process that keeps all others from writing to the database until one of them is paused."""


class Fault:
    """A signal that this process sends itself at a point, the first time."""

    def __init__(self, point: Point, number: signal.Signals) -> None:
        self._point, self._number = point, number
        self._first = threading.Lock()

    def is_here(self, *about: Any, after: bool) -> bool:
        return self._point.after is after and self._point.when(*about) and self._first.acquire(blocking=False)

    def strike(self) -> None:
        """Send it. One that pauses comes when nothing here writes to SQLite, which would keep everybody from it."""
        if self._number == signal.SIGSTOP:
            path = os.environ["LOCUTUS_DATABASE_URL"].removeprefix("sqlite://")
            argv = [sys.executable, "-I", "-c", HOLD_UNTIL_PAUSED, path, str(os.getpid())]
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
                assert holder.stdout is not None
                holder.stdout.readline()
                signal.pthread_kill(threading.get_ident(), self._number)
        else:
            signal.pthread_kill(threading.get_ident(), self._number)

    async def strike_loop(self) -> None:
        """The same from the event loop, which open transactions need to come to their end."""
        while self._number == signal.SIGSTOP and (others := unit._owned - {asyncio.current_task()}):
            await asyncio.gather(*others, return_exceptions=True)
        self.strike()


def put_in(point: Point, number: signal.Signals) -> None:
    """Have this process send itself the signal where `point` is first reached."""
    *owners, name = point.name.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(point.module))
    setattr(owner, name, _wrapped(getattr(owner, name), Fault(point, number)))


def _wrapped(original: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    @functools.wraps(original)
    async def awaited(*arguments: Any, **options: Any) -> Any:
        if fault.is_here(None, *arguments, after=False):
            await fault.strike_loop()
        result = await original(*arguments, **options)
        if fault.is_here(result, *arguments, after=True):
            await fault.strike_loop()
        return result

    @functools.wraps(original)
    def called(*arguments: Any, **options: Any) -> Any:
        if fault.is_here(None, *arguments, after=False):
            fault.strike()
        result = original(*arguments, **options)
        if fault.is_here(result, *arguments, after=True):
            fault.strike()
        return result

    return awaited if inspect.iscoroutinefunction(original) else called


def set_constant(assignment: str) -> None:
    """Change a module's number or path: `MODULE:NAME=VALUE`."""
    where, _, value = assignment.partition("=")
    module, _, name = where.partition(":")
    changed = importlib.import_module(module)
    kind = Path if isinstance(getattr(changed, name), Path) else float
    setattr(changed, name, kind(value))


def run(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--at")
    parser.add_argument("command")
    given = parser.parse_args(arguments)
    for assignment in given.set:
        set_constant(assignment)
    if given.at:
        name, _, number = given.at.partition("=")
        put_in({**POINTS, **TICK_POINTS}[name], signal.Signals[number])
    sys.argv = ["locutus", given.command]
    main()


def run_in(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """The same in a process that was forked for it: with this environment alone, and its output in `log`."""
    os.setsid()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    run(arguments)


if __name__ == "__main__":
    run(sys.argv[1:])
