"""The processes that chaos strikes: each is started again when it ends, as a service manager would."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.chaos_place import Journal, Place
from benchmarks.running import ADMIN_TOKEN, SIGNING_SECRET

ROOT = Path(__file__).parent.parent
STOP_WITHIN_S = 15.0
KILLED = -signal.SIGKILL


@dataclass
class Part:
    """One process; `outage_s` is how long it stays away after its next end."""

    name: str
    argv: tuple[str, ...]
    process: Process | None = None
    outage_s: float | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    def strike(self, number: int) -> bool:
        """Send a signal; False where it does not run."""
        if self.process is None or self.pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return True


class Fleet:
    """The parts of one Locutus: a gateway, two workers and their Redis, or one `up`."""

    def __init__(self, place: Place, journal: Journal, chance: random.Random, *, environment: dict[str, str]) -> None:
        self.parts: dict[str, Part] = {}
        self.ended_by_themselves: list[str] = []
        self._place = place
        self._journal = journal
        self._chance = chance
        self._environment = environment
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def redis_socket(self) -> Path:
        return self._place.data / "redis.sock"

    @property
    def pids(self) -> set[int]:
        """Of all parts that run, and of this process."""
        return {os.getpid(), *(part.pid for part in self.parts.values() if part.pid is not None)}

    async def start(self, *, alone: bool) -> None:
        """Begin to keep the parts up; with `alone` all of them are one `locutus up`."""
        if alone:
            self._add("up", _locutus("up"))
        else:
            await self._run_once(_locutus("migrate"))
            self._add("redis", ("redis-server", "--port", "0", "--unixsocket", str(self.redis_socket), "--save", ""))
            self._add("gateway", _locutus("gateway"))
            self._add("worker-1", _locutus("worker"))
            self._add("worker-2", _locutus("worker"))
        self._tasks = [asyncio.create_task(self._keep_up(part)) for part in self.parts.values()]

    async def stop(self) -> dict[str, float]:
        """End all parts as a service manager does; how many seconds each took."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        redis = self.parts.get("redis")
        others = [part for part in self.parts.values() if part is not redis]
        took_s = dict(await asyncio.gather(*map(_stopped, others)))
        return took_s | (dict([await _stopped(redis)]) if redis else {})

    def embedded_redis(self) -> psutil.Process | None:
        """The Redis that an `up` of ours has started."""
        if "up" not in self.parts or (pid := self.parts["up"].pid) is None:
            return None
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(pid).children(recursive=True)
            return next((child for child in children if "redis" in child.name() or "valkey" in child.name()), None)
        return None

    async def flush_redis(self) -> None:
        """Have Redis forget everything; nothing happens where it is away."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_unix_connection(str(self.redis_socket))
                writer.write(b"FLUSHALL\r\n")
                await reader.readline()
                writer.close()

    def _add(self, name: str, argv: tuple[str, ...]) -> None:
        self.parts[name] = Part(name, argv)

    async def _keep_up(self, part: Part) -> None:
        while True:
            part.process = await self._spawn(part.name, part.argv)
            self._journal.note("started", part=part.name, pid=part.process.pid)
            status = await part.process.wait()
            self._journal.note("ended", part=part.name, pid=part.process.pid, status=status)
            if status != KILLED:
                self.ended_by_themselves.append(f"{part.name} ({status})")
            outage_s, part.outage_s = part.outage_s, None
            await asyncio.sleep(self._chance.uniform(0.1, 2.0) if outage_s is None else outage_s)

    async def _run_once(self, argv: tuple[str, ...]) -> None:
        process = await self._spawn("once", argv)
        if await process.wait():
            raise RuntimeError(f"{argv[-1]} failed; see once.log in {self._place.directory}")

    async def _spawn(self, name: str, argv: tuple[str, ...]) -> Process:
        with (self._place.directory / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *argv, cwd=ROOT, env=self._environment, stdin=DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


def environment(place: Place, port: int, slack_url: str, slack_token: str, *, redis: Path | None) -> dict[str, str]:
    """The settings of all parts, and nothing of this process's own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place.directory),
        "LOCUTUS_DATA_DIR": str(place.data),
        "LOCUTUS_BIND": f"127.0.0.1:{port}",
        "LOCUTUS_HOST": "chaos",
        "LOCUTUS_ADMIN_TOKEN": ADMIN_TOKEN,
        "LOCUTUS_SECRET_KEY": "a secret key for a run of chaos that is long enough",
        "LOCUTUS_BORG": str(place.program),
        "LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS": "true",
        "LOCUTUS_SLACK_API_URL": slack_url,
        "SLACK_BOT_TOKEN": slack_token,
        "SLACK_SIGNING_SECRET": SIGNING_SECRET,
        **({"LOCUTUS_REDIS_URL": f"unix://{redis}"} if redis else {}),
    }


def _locutus(command: str) -> tuple[str, ...]:
    return sys.executable, "-m", "cli", command


async def _stopped(part: Part) -> tuple[str, float]:
    began = asyncio.get_running_loop().time()
    if part.strike(signal.SIGTERM) and part.process is not None:
        part.strike(signal.SIGCONT)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await part.process.wait()
        except TimeoutError:
            part.strike(signal.SIGKILL)
            await part.process.wait()
    return part.name, round(asyncio.get_running_loop().time() - began, 1)
