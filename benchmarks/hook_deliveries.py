"""Signed deliveries a second, and how long each takes: many at once, whose commits are grouped, and one by one; and
what is lost or doubled when the process is killed in the middle.
"""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from benchmarks.running import Running, locutus_up
from tests.fakes.hook_senders import STANDARD_SECRET, fresh_id
from tests.fakes.hook_storm import ACCEPTED, Storm, a_third_repeated, signed

DELIVERIES, ONE_BY_ONE, CLIENTS = 10_000, 500, 32


async def measure() -> dict[str, Any]:
    """10,000 deliveries, a third of them repeats, from 32 clients, to a Locutus with SQLite (`synchronous=FULL`)."""
    async with locutus_up() as running:
        await _prepare(running)
        alone = await _send(running.http, [fresh_id() for _ in range(ONE_BY_ONE)], clients=1)
        together = await _send(running.http, a_third_repeated(DELIVERIES), CLIENTS)
    return {"many_at_once": together, "one_by_one": alone, "killed_in_the_middle": await _killed()}


async def _killed() -> dict[str, int]:
    """As many again, from senders that do not give up, to a `locutus up` that is killed half-way and started again."""
    storm = Storm(a_third_repeated(DELIVERIES), CLIENTS)
    async with locutus_up() as running:
        await _prepare(running)

        async def kill_half_way() -> None:
            await storm.half_way.wait()
            await running.kill_and_start()

        await asyncio.gather(kill_half_way(), storm.send(running.http))
        with sqlite3.connect(running.directory / "data/locutus.db") as database:
            jobs = [number for (number,) in database.execute("SELECT id FROM jobs")]
            rows = dict(database.execute("SELECT delivery_id, job_id FROM hook_deliveries"))
    return storm.outcome(rows, jobs)


async def _prepare(running: Running) -> None:
    """A hook on a repository whose host has no worker: what is measured is the acceptance."""
    photos = {"name": "photos", "location": "/srv/photos", "source_directories": ["/home"], "encryption": "none"}
    await running.call("POST", "/api/repositories", json={**photos, "host": "elsewhere"})
    action = {"kind": "backup", "repository": "photos"}
    hook = {"name": "deploy", "scheme": "standard", "secret": STANDARD_SECRET, "action": action, "coalesce": False}
    await running.call("POST", "/api/hooks", json=hook)


async def _send(http: aiohttp.ClientSession, deliveries: Sequence[str], clients: int) -> dict[str, float]:
    waiting, took_ms = iter(deliveries), []

    async def client() -> None:
        for webhook_id in waiting:
            options = signed(webhook_id)
            begun = time.perf_counter()
            async with http.post("/hooks/deploy", **options) as answer:
                assert answer.status in ACCEPTED, await answer.text()
            took_ms.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    percentiles = statistics.quantiles(took_ms, n=100)
    return {
        "deliveries": len(took_ms),
        "per_second": round(len(took_ms) / (time.perf_counter() - begun)),
        "median_ms": round(percentiles[49], 1),
        "p99_ms": round(percentiles[98], 1),
    }
