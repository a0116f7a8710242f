"""`locutus up` as a process of its own, in a data directory, with an embedded Redis."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

from cli.embedded_redis import socket_path
from tests.conftest import free_port
from tests.fakes.machine import kill_holders
from worker.run_directory import RunDirectory


class Up:
    """A `locutus up` in a data directory."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.borg = "borg"
        self.variables: dict[str, str] = {}
        self._started: list[asyncio.subprocess.Process] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory.parent),
            "LOCUTUS_DATA_DIR": str(self.directory),
            "LOCUTUS_BIND": f"127.0.0.1:{self.port}",
            "LOCUTUS_ADMIN_TOKEN": "an-admin-token",
            "LOCUTUS_BORG": self.borg,
            **self.variables,
        }

    async def start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", "up", env=self.environment, stderr=asyncio.subprocess.PIPE
        )
        self._started.append(process)
        return process

    async def end(self) -> None:
        """End whatever a test that failed has left of it: each `up`, its Redis, the runs."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        for pid in redis_of(self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        runs = self.directory / "runs"
        for run in RunDirectory.all_in(runs) if runs.exists() else ():
            await asyncio.to_thread(kill_holders, run)

    async def ready(self) -> None:
        await eventually(lambda: self.call("/readyz"))

    def call(self, path: str, body: dict | None = None) -> dict | None:
        """The JSON at a path; None where nobody answers."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": "Bearer an-admin-token", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, headers=headers)
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(request, timeout=70) as answer,
        ):
            return json.load(answer)
        return None


async def eventually(condition, timeout_s=30):
    async with asyncio.timeout(timeout_s):
        while not (found := await asyncio.to_thread(condition)):
            await asyncio.sleep(0.05)
    return found


def redis_of(directory: Path) -> list[int]:
    """The pids of the Redis servers that listen on the data directory's socket."""
    wanted = os.fsencode(socket_path(directory))
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (process / "cmdline").read_bytes() and b"redis" in (process / "comm").read_bytes():
                pids.append(int(process.name))
    return pids
