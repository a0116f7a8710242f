"""Signed deliveries a second, and how long each takes: many at once, whose commits are grouped, and one by one."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from benchmarks.running import Running, locutus_up
from tests.fakes.hook_senders import STANDARD_SECRET, Signed, standard

DELIVERIES, ONE_BY_ONE, CLIENTS = 10_000, 500, 32
ACCEPTED = frozenset({200, 202})


async def measure() -> dict[str, Any]:
    """10,000 deliveries, a third of them repeats, from 32 clients, to a Locutus with SQLite (`synchronous=FULL`)."""
    async with locutus_up() as running:
        await _prepare(running)
        alone = await _send(running.http, [standard({"n": index}) for index in range(ONE_BY_ONE)], clients=1)
        distinct = [standard({"n": index}) for index in range(DELIVERIES * 2 // 3)]
        repeated = distinct[: DELIVERIES - len(distinct)]
        return {"many_at_once": await _send(running.http, [*distinct, *repeated], CLIENTS), "one_by_one": alone}


async def _prepare(running: Running) -> None:
    """A hook on a repository whose host has no worker: what is measured is the acceptance."""
    photos = {"name": "photos", "location": "/srv/photos", "source_directories": ["/home"], "encryption": "none"}
    await running.call("POST", "/api/repositories", json={**photos, "host": "elsewhere"})
    action = {"kind": "backup", "repository": "photos"}
    hook = {"name": "deploy", "scheme": "standard", "secret": STANDARD_SECRET, "action": action, "coalesce": False}
    await running.call("POST", "/api/hooks", json=hook)


async def _send(http: aiohttp.ClientSession, deliveries: Sequence[Signed], clients: int) -> dict[str, float]:
    waiting, took_ms = iter(deliveries), []

    async def client() -> None:
        for headers, body in waiting:
            begun = time.perf_counter()
            async with http.post("/hooks/deploy", data=body, headers=headers) as answer:
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
