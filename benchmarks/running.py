"""A real `locutus up` for a benchmark: its own data directory, its own process, killed at the end."""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

SIGNING_SECRET = "a signing secret of the benchmarks"
ADMIN_TOKEN = "an-admin-token-of-the-benchmarks"


@dataclass
class Running:
    """A Locutus that is up."""

    directory: Path
    http: aiohttp.ClientSession
    process: asyncio.subprocess.Process
    """Gateway and worker."""
    again: Callable[[], Awaitable[asyncio.subprocess.Process]]
    """Starts such a process."""

    @property
    def pid(self) -> int:
        return self.process.pid

    async def kill_and_start(self) -> None:
        """As by `kill -9`, in the middle of whatever it does."""
        self.process.kill()
        await self.process.wait()
        self.process = await self.again()

    async def call(self, method: str, path: str, **options: Any) -> Any:
        async with self.http.request(method, path, **options) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def add_repository(self, name: str, sources: Path) -> None:
        body = {
            "name": name,
            "location": str(self.directory / name),
            "source_directories": [str(sources)],
            "encryption": "none",
            "init": True,
        }
        added = await self.call("POST", "/api/repositories", json=body)
        await self.ended(added["init_job_id"])

    async def ended(self, job_id: int) -> dict[str, Any]:
        while True:
            job = await self.call("GET", f"/api/jobs/{job_id}", params={"wait": "60"})
            if job["completed_at"]:
                return dict(job)


@contextlib.asynccontextmanager
async def locutus_up(command: str = "up", **environment: str) -> AsyncIterator[Running]:
    directory = Path(tempfile.mkdtemp(prefix="locutus-bench-"))
    port = free_port()
    given = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LOCUTUS_DATA_DIR": str(directory / "data"),
        "LOCUTUS_BIND": f"127.0.0.1:{port}",
        "LOCUTUS_ADMIN_TOKEN": ADMIN_TOKEN,
        "SLACK_SIGNING_SECRET": SIGNING_SECRET,
        **environment,
    }
    with (directory / "up.log").open("wb") as log:
        if command == "gateway":
            migrating = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli", "migrate", env=given, stderr=log
            )
            await migrating.wait()

    async def start() -> asyncio.subprocess.Process:
        with (directory / "up.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(sys.executable, "-m", "cli", command, env=given, stderr=log)

    running = None
    first = await start()
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http:
            await _ready(http)
            running = Running(directory, http, first, start)
            yield running
    finally:
        process = running.process if running else first
        process.terminate()
        await process.wait()
        shutil.rmtree(directory)


async def _ready(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
