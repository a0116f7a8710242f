"""From the slash command's arrival to borg's process: the program that is started notes the time and becomes borg."""

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.running import SIGNING_SECRET, Running, locutus_up
from tests.fakes.slack import slash_command

COMMANDS = 100
NOTE = """#!/bin/sh
case "$*" in *create*) date +%s.%N >> "{times}";; esac
exec borg "$@"
"""


async def measure() -> dict[str, Any]:
    """Milliseconds over 100 commands, one after another, each on an idle Locutus."""
    program = Path("/tmp") / f"locutus-bench-borg-{time.monotonic_ns()}"
    times = program.with_suffix(".times")
    program.write_text(NOTE.format(times=times))
    program.chmod(0o755)
    try:
        async with locutus_up(LOCUTUS_BORG=str(program)) as running:
            sent = await _send_all(running)
        started = [float(line) for line in times.read_text().split()]
    finally:
        program.unlink()
        times.unlink(missing_ok=True)
    latencies = sorted((start - send) * 1000 for send, start in zip(sent, started, strict=True))
    percentiles = statistics.quantiles(latencies, n=100)
    return {"median_ms": round(percentiles[49], 1), "p99_ms": round(percentiles[98], 1), "commands": COMMANDS}


async def _send_all(running: Running) -> list[float]:
    sources = running.directory / "sources"
    sources.mkdir()
    (sources / "file").write_text("a file")
    await running.add_repository("photos", sources)
    await running.call("POST", "/api/role-bindings", json={"subject": "slack:T1:U1", "role": "operate"})
    return [await _send(running, number) for number in range(COMMANDS)]


async def _send(running: Running, number: int) -> float:
    headers, body = slash_command(SIGNING_SECRET, "run photos", trigger_id=f"trigger-{number}")
    sent = time.time()
    async with running.http.post("/slack/events", data=body, headers=headers) as answer:
        answer.raise_for_status()
    newest = await running.call("GET", "/api/jobs", params={"limit": "1"})
    await running.ended(newest["items"][0]["id"])
    return sent
