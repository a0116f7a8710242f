"""What a running Locutus (gateway and worker in one process) takes of memory for 6 GB of log and for 100,000 files."""

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.running import Running, locutus_up

LOG_BYTES = 6_000_000_000
FILES = 100_000
LOOK_EVERY_S = 0.2
LINE = f'{{"type": "file_status", "status": "A", "path": "{"/a-long-directory-name" * 43}/IMG_2041.CR3"}}'
"""A thousand bytes."""
LOUD = """#!/bin/sh
case " $* " in
*" create "*) yes '{line}' | head -c {size} >&2; exit 2;;
esac
exec borg "$@"
"""


async def long_log() -> dict[str, Any]:
    """One job whose borg says 6 GB of lines and fails: what it logged is read to its end all the same."""
    place = Path(tempfile.mkdtemp(prefix="locutus-bench-borg-"))
    program = place / "borg"
    program.write_text(LOUD.format(line=LINE, size=LOG_BYTES))
    program.chmod(0o700)
    try:
        async with locutus_up(LOCUTUS_BORG=str(program)) as running:
            await _repository(running, files=1)
            return {"log_gb": LOG_BYTES / 1e9, **await _measured(running, _backup)}
    finally:
        shutil.rmtree(place)


async def many_files() -> dict[str, Any]:
    """A repository of 100,000 small files: backed up, restored, listed, pruned."""
    async with locutus_up() as running:
        await _repository(running, FILES)
        steps = {"backup": _backup, "restore": _restore, "list": _list, "second_backup": _backup, "prune": _prune}
        return {"files": FILES, **{name: await _measured(running, step) for name, step in steps.items()}}


async def _backup(running: Running) -> dict[str, Any]:
    return await running.call("POST", "/api/backup/run", json={"repository": "photos"})  # type: ignore[no-any-return]


async def _restore(running: Running) -> dict[str, Any]:
    [archive] = (await running.call("GET", "/api/repositories/photos/archives"))["items"]
    body = {"repository": "photos", "destination": str(running.directory / "restored")}
    return await running.call("POST", f"/api/archives/{archive['id']}/restore", json=body)  # type: ignore[no-any-return]


async def _list(running: Running) -> dict[str, Any]:
    return await running.call("GET", "/api/repositories/photos/archives?refresh=true")  # type: ignore[no-any-return]


async def _prune(running: Running) -> dict[str, Any]:
    return await running.call("POST", "/api/repositories/photos/prune", json={"keep_last": 1})  # type: ignore[no-any-return]


async def _measured(running: Running, step: Callable[[Running], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Seconds, and MB of resident memory before the job and at most while it ran."""
    before = _resident_mb(running.pid)
    begun = time.monotonic()
    async with _peak(running.pid) as peak:
        job = await running.ended((await step(running))["job_id"])
    return {
        "status": job["status"],
        "nfiles": job["progress"]["nfiles"],
        "seconds": round(time.monotonic() - begun, 1),
        "resident_before_mb": before,
        "resident_peak_mb": max(peak),
    }


@asynccontextmanager
async def _peak(pid: int) -> AsyncIterator[list[int]]:
    seen = [0]

    async def look() -> None:
        while True:
            seen[0] = max(seen[0], _resident_mb(pid))
            await asyncio.sleep(LOOK_EVERY_S)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()


def _resident_mb(pid: int) -> int:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) // 1000 if match else 0


async def _repository(running: Running, files: int) -> None:
    sources = running.directory / "sources"
    await asyncio.to_thread(_make_files, sources, files)
    await running.add_repository("photos", sources)


def _make_files(directory: Path, files: int) -> None:
    for number in range(files):
        folder = directory / f"{number % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(f"file {number}\n")
