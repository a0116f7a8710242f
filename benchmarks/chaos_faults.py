"""What chaos does to a fleet: kills, pauses, and a chat platform, a Redis and a database that fail for a while."""

import asyncio
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import psutil

from benchmarks.chaos_fleet import Fleet
from benchmarks.chaos_place import Journal, Place, RunProcess
from tests.fakes.slack import POST, UPDATE, FakeSlack, Limit

GAP_S = (0.3, 3.5)
SHORT_S, LONG_S = (0.5, 5.0), (8.0, 20.0)
LONG_SHARE = 0.2
Fault = Callable[[], Awaitable[None]]


@dataclass
class Struck:
    """What was done, and to whom it may have cost the run."""

    faults: Counter[str]
    jobs: set[int]


class Faults:
    """Random faults until cancelled; then all that was paused goes on, and nothing fails any more."""

    def __init__(self, place: Place, fleet: Fleet, slack: FakeSlack, journal: Journal, chance: random.Random) -> None:
        self.struck = Struck(Counter(), set())
        self._place = place
        self._fleet = fleet
        self._slack = slack
        self._journal = journal
        self._chance = chance
        self._slack_fails = asyncio.Lock()

    async def run(self) -> None:
        faults = self._faults()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(self._chance.uniform(*GAP_S))
                (name,) = self._chance.choices(list(faults), [weight for weight, _ in faults.values()])
                self.struck.faults[name] += 1
                self._journal.note("fault", fault=name)
                tasks.create_task(_quietly(faults[name][1]()))

    def _faults(self) -> dict[str, tuple[int, Fault]]:
        """By name: how often, relative to the others, and what."""
        alone = "up" in self._fleet.parts
        times = 4 if alone else 1  # so that it is struck as often as all parts together
        parts = {
            f"{verb} {name}": (weight * times, strike)
            for name in self._fleet.parts
            for verb, weight, strike in (("kill", 4, self._killer(name)), ("pause", 3, self._pauser(name)))
        }
        return parts | {
            "kill a supervisor": (5, lambda: self._kill_runs("lock")),
            "kill a borg": (4, lambda: self._kill_runs("borg.lock")),
            "kill supervisors and borgs": (2, lambda: self._kill_runs("lock", "borg.lock", all_of_them=True)),
            "pause a supervisor": (3, lambda: self._pause_run("lock")),
            "pause a borg": (3, lambda: self._pause_run("borg.lock")),
            "kill all workers": (0 if alone else 2, self._kill_workers),
            "kill embedded redis": (4 if alone else 0, self._kill_embedded_redis),
            "kill all": (2, self._kill_all),
            "flush redis": (4, self._fleet.flush_redis),
            "lock database": (3, self._lock_database),
            "slack 500": (2, lambda: self._fail_slack("500")),
            "slack drops": (2, lambda: self._fail_slack("dropped")),
            "slack 429": (2, self._limit_slack),
            "slack loses an answer": (6, self._lose_answer),
        }

    def _duration_s(self) -> float:
        return self._chance.uniform(*(LONG_S if self._chance.random() < LONG_SHARE else SHORT_S))

    # Of the parts.

    def _killer(self, name: str) -> Fault:
        async def kill() -> None:
            part = self._fleet.parts[name]
            part.outage_s = self._chance.uniform(0.1, 4.0)
            if self._chance.random() < LONG_SHARE:
                part.outage_s = self._duration_s()
            part.strike(signal.SIGKILL)

        return kill

    def _pauser(self, name: str) -> Fault:
        async def pause() -> None:
            part, duration_s = self._fleet.parts[name], self._duration_s()
            process = part.process
            self._journal.note("paused", part=name, seconds=round(duration_s, 1))
            try:
                part.strike(signal.SIGSTOP)
                await asyncio.sleep(duration_s)
            finally:
                if part.process is process:
                    part.strike(signal.SIGCONT)
                self._journal.note("continued", part=name)

        return pause

    async def _kill_workers(self) -> None:
        for name, part in self._fleet.parts.items():
            if name.startswith("worker"):
                part.strike(signal.SIGKILL)

    async def _kill_embedded_redis(self) -> None:
        if redis := await asyncio.to_thread(self._fleet.embedded_redis):
            redis.kill()

    async def _kill_all(self) -> None:
        for part in self._fleet.parts.values():
            part.strike(signal.SIGKILL)
        await self._kill_runs("lock", "borg.lock", all_of_them=True)

    # Of the runs.

    async def _kill_runs(self, *locks: str, all_of_them: bool = False) -> None:
        running = [process for process in await self._run_processes() if process.lock in locks]
        for process in running if all_of_them else self._chance.sample(running, min(1, len(running))):
            self.struck.jobs.add(process.job_id)
            hit = process.strike(self._place.runs, signal.SIGKILL)
            self._journal.note("killed", run=process.run, lock=process.lock, pid=process.pid, hit=hit)

    async def _pause_run(self, lock: str) -> None:
        running = [process for process in await self._run_processes() if process.lock == lock]
        for process in self._chance.sample(running, min(1, len(running))):
            duration_s = self._duration_s()
            self._journal.note("paused", run=process.run, lock=lock, pid=process.pid, seconds=round(duration_s, 1))
            try:
                process.strike(self._place.runs, signal.SIGSTOP)
                await asyncio.sleep(duration_s)
            finally:
                process.strike(self._place.runs, signal.SIGCONT)

    async def _run_processes(self) -> list[RunProcess]:
        return await asyncio.to_thread(self._place.run_processes, self._fleet.pids)

    # Of what it needs.

    async def _lock_database(self) -> None:
        duration_s = self._duration_s()
        database = sqlite3.connect(
            self._place.data / "locutus.db", timeout=10, isolation_level=None, check_same_thread=False
        )
        try:
            await asyncio.to_thread(database.execute, "BEGIN IMMEDIATE")
            self._journal.note("database locked", seconds=round(duration_s, 1))
            await asyncio.sleep(duration_s)
        finally:
            database.close()

    async def _fail_slack(self, how: Literal["500", "dropped"]) -> None:
        async with self._slack_fails:
            try:
                self._slack.down = how
                await asyncio.sleep(2 * self._duration_s())
            finally:
                self._slack.down = None

    async def _limit_slack(self) -> None:
        async with self._slack_fails:
            usual = self._slack.limits
            try:
                self._slack.limits = usual | {POST: Limit(10, 1, per_channel=True), UPDATE: Limit(10, 1)}
                await asyncio.sleep(2 * self._duration_s())
            finally:
                self._slack.limits = usual

    async def _lose_answer(self) -> None:
        self._slack.lose_next_answer(self._chance.choice((POST, UPDATE)))


async def _quietly(fault: Awaitable[None]) -> None:
    """A fault that comes too late to find its victim is none."""
    try:
        await fault
    except (psutil.Error, sqlite3.OperationalError):
        return
