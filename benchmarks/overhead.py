"""The time of a job against raw borg with the same flags: 20,000 unchanged files, pairs in alternating order."""

import asyncio
import os
import statistics
import time
from asyncio.subprocess import DEVNULL
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.running import Running, locutus_up

FILES = 20_000
PAIRS = 7


async def measure() -> dict[str, Any]:
    """The median of the pairs' ratios (job : raw borg), with the seconds of both."""
    async with locutus_up() as running:
        sources = running.directory / "sources"
        await asyncio.to_thread(_make_files, sources)
        await running.add_repository("photos", sources)
        await _job_s(running)
        pairs = [await _pair(running, sources, number) for number in range(PAIRS)]
    return {
        "ratio_median": round(statistics.median(job / raw for job, raw in pairs), 3),
        "ratios": [round(job / raw, 3) for job, raw in pairs],
        "job_s": round(statistics.median(job for job, _ in pairs), 3),
        "raw_s": round(statistics.median(raw for _, raw in pairs), 3),
        "pairs": PAIRS,
    }


async def _pair(running: Running, sources: Path, number: int) -> tuple[float, float]:
    if number % 2:
        raw = await _raw_s(running, sources, number)
        return await _job_s(running), raw
    return await _job_s(running), await _raw_s(running, sources, number)


async def _job_s(running: Running) -> float:
    accepted = await running.call("POST", "/api/backup/run", json={"repository": "photos"})
    job = await running.ended(accepted["job_id"])
    return (datetime.fromisoformat(job["completed_at"]) - datetime.fromisoformat(job["started_at"])).total_seconds()


async def _raw_s(running: Running, sources: Path, number: int) -> float:
    repository = running.directory / "photos"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(running.directory),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    argv = (
        "borg", "create", "--progress", "--log-json", "--json", "--lock-wait", "60", "--compression", "lz4",
        "--", f"{repository}::raw-{number}", str(sources),
    )  # fmt: skip
    with (running.directory / "raw.log").open("wb") as log:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdin=DEVNULL, stdout=log, stderr=log)
        status = await process.wait()
    if status:
        raise RuntimeError(f"borg ended with status {status}")
    return time.monotonic() - begun


def _make_files(directory: Path) -> None:
    for number in range(FILES):
        folder = directory / f"{number % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(f"file {number}\n" * 20)
