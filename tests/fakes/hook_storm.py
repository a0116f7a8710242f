"""Many signed deliveries from senders that do not give up, and what became of them in the database."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp

from tests.fakes.hook_senders import fresh_id, standard

ACCEPTED = frozenset({200, 202})


def a_third_repeated(number: int) -> list[str]:
    """The ids of so many deliveries of which a third are repetitions: half of these side by side with what they repeat,
    half of them after everything else.
    """
    repeated = number // 3
    distinct = [fresh_id() for _ in range(number - repeated)]
    near = repeated // 2
    side_by_side = [webhook_id for webhook_id in distinct[:near] for _ in range(2)]
    return [*side_by_side, *distinct[near:], *distinct[near:repeated]]


async def until_answered(
    http: aiohttp.ClientSession, method: str, path: str, options: Callable[[], dict[str, Any]]
) -> tuple[int, Any]:
    """As a sender that does not give up, and signs each try anew; status and JSON."""
    while True:
        try:
            async with http.request(method, path, timeout=aiohttp.ClientTimeout(30), **options()) as answer:
                if answer.status < 500:
                    return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(0.05)


def signed(webhook_id: str) -> dict[str, Any]:
    """A delivery as a client's request takes it."""
    headers, body = standard({"n": webhook_id}, webhook_id=webhook_id)
    return {"headers": headers, "data": body}


@dataclass
class Storm:
    """Sends every delivery from many clients; `half_way` is set when half of them were answered."""

    deliveries: Sequence[str]
    clients: int
    half_way: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[tuple[str, int]] = field(default_factory=list)

    async def send(self, http: aiohttp.ClientSession, path: str = "/hooks/deploy") -> None:
        """Until each is answered."""
        waiting = iter(self.deliveries)

        async def client() -> None:
            for webhook_id in waiting:
                status, said = await until_answered(http, "POST", path, partial(signed, webhook_id))
                assert status in ACCEPTED, said
                self.answers.append((webhook_id, said["job_id"]))
                if len(self.answers) * 2 >= len(self.deliveries):
                    self.half_way.set()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.clients):
                tasks.create_task(client())

    def outcome(self, rows: dict[str, int], jobs: Sequence[int]) -> dict[str, int]:
        """The count of what went wrong: `rows` has each known delivery's job, `jobs` is every job there is."""
        distinct = set(self.deliveries)
        jobs_of = Counter(rows.values())
        return {
            "answered": len(self.answers),
            "distinct": len(distinct),
            "jobs": len(jobs),
            "lost": len(distinct - rows.keys()) + len(set(rows.values()) - set(jobs)),
            "doubled": len(set(jobs) - set(rows.values())) + sum(count > 1 for count in jobs_of.values()),
            "answered_otherwise": sum(rows.get(webhook_id) != job_id for webhook_id, job_id in self.answers),
        }
