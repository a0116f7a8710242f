"""Events as they happen, over WebSockets (RFC 6455): of one job until it has ended, or of everything.

What is sent is read from the database; the bell only makes this look sooner. A message is an event of the catalogue
with its `id`, or `job.updated`: how a job is now. Who lost the connection goes on after the last `id` with `since`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

from aiohttp import ClientConnectionResetError, WSCloseCode, web
from pydantic import BaseModel, ConfigDict, Field
from tortoise.queryset import QuerySet

from jobs.access import Role
from jobs.database.unit import reader
from jobs.models import EventEntry, Job
from jobs.present import view
from webhooks.api.jobs import find_job
from webhooks.authentication import AUTHENTICATOR
from webhooks.problems import HttpProblemError
from webhooks.route import Call, Plain, Route

LOOK_AGAIN_S = 2.0
HEARTBEAT_S = 30.0
CLOSE_S = 1.0
PAGE = 100
OVERLAP = 200
"""So many ids before the newest are looked at again: a transaction may commit after one that began later."""
UPDATED = "job.updated"


class EventsQuery(BaseModel):
    """`since`: the `id` of the last event that was seen; without it, what happens from now on."""

    model_config = ConfigDict(extra="forbid")

    since: int | None = Field(default=None, ge=0, lt=2**63)


class RightGoneError(Exception):
    """Who listens would not be let in any more, or not to the same."""


class Standing:
    """Whether who listens still has the rights they came with; looked at every 2 s."""

    def __init__(self, call: Call[Any, Any]) -> None:
        self._call = call
        self._seen_s = time.monotonic()

    async def require(self) -> None:
        """Raises `RightGoneError` where the token was removed, or its rights have changed."""
        if time.monotonic() - self._seen_s < LOOK_AGAIN_S:
            return
        self._seen_s = time.monotonic()
        request = self._call.request
        try:
            asker = await request.app[AUTHENTICATOR].principal(request.headers.get("Authorization"), spends=False)
        except HttpProblemError as error:
            raise RightGoneError from error
        if asker != self._call.principal:
            raise RightGoneError


class Reading:
    """What of the events has been read: each once, also those that were committed out of order."""

    def __init__(self, after: int, rows: QuerySet[EventEntry]) -> None:
        self._after = after
        self._rows = rows
        self._newest = after
        self._seen: set[int] = set()

    async def unread(self) -> Sequence[EventEntry]:
        """The next events, oldest first; empty when there are none yet."""
        start = max(self._after, self._newest - OVERLAP)
        wanted = self._rows.filter(id__gt=start, id__not_in=list(self._seen) or [0]).using_db(reader())
        found = await wanted.order_by("id").limit(PAGE)
        self._seen |= {entry.id for entry in found}
        self._newest = max([self._newest, *self._seen])
        self._seen = {seen for seen in self._seen if seen > self._newest - OVERLAP}
        return found


async def follow_all(call: Call[None, EventsQuery]) -> web.WebSocketResponse:
    """Every event that the principal may see, and the state of every job that changes."""
    after = await _newest_id() if call.query.since is None else call.query.since
    reading, standing = Reading(after, _visible(call)), Standing(call)
    with call.context.queue.ear() as ear:
        async with _accepted(call) as socket:
            while not socket.closed:
                await standing.require()
                await _send_events(call, socket, reading)
                if await ear.wait(LOOK_AGAIN_S):
                    await _send_jobs(call, socket, ear.heard)
    return socket


async def follow_job(call: Plain) -> web.WebSocketResponse:
    """A job's state, what changes of it, and its events from now on; closed once the job has ended."""
    await find_job(call, call.id)
    reading, standing = Reading(await _newest_id(), EventEntry.filter(job_id=call.id)), Standing(call)
    with call.context.queue.ear(call.id) as ear:
        async with _accepted(call) as socket:
            shown = None
            while not socket.closed:
                await standing.require()
                # Asked first: what it says of the end is then all there to be read.
                job = await find_job(call, call.id)
                if job.revision != shown:
                    shown = job.revision
                    await _send_job(call, socket, job)
                await _send_events(call, socket, reading)
                if job.completed_at:
                    break
                await ear.wait(LOOK_AGAIN_S)
    return socket


@asynccontextmanager
async def _accepted(call: Call[Any, Any]) -> AsyncIterator[web.WebSocketResponse]:
    """The socket while it is open. What the client says is read, for its close and its pongs, and not heeded."""
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, timeout=CLOSE_S)
    await socket.prepare(call.request)
    listening = asyncio.create_task(_listen(socket))
    code = WSCloseCode.INTERNAL_ERROR
    try:
        with suppress(ClientConnectionResetError):
            yield socket
        code = WSCloseCode.OK
    except RightGoneError:
        code = WSCloseCode.POLICY_VIOLATION
    except asyncio.CancelledError:
        code = WSCloseCode.GOING_AWAY
        raise
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await socket.close(code=code)


async def _listen(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


async def _send_events(call: Call[Any, Any], socket: web.WebSocketResponse, reading: Reading) -> None:
    while entries := await reading.unread():
        for entry in entries:
            await socket.send_str(_message(call, entry))


async def _send_jobs(call: Call[Any, Any], socket: web.WebSocketResponse, ids: set[int]) -> None:
    names = call.principal.limited_to(Role.VIEW)
    for job in await Job.filter(id__in=list(ids)).using_db(reader()).order_by("id"):
        if names is None or job.repository_name in names:
            await _send_job(call, socket, job)


async def _send_job(call: Call[Any, Any], socket: web.WebSocketResponse, job: Job) -> None:
    data = view(job, base_url=call.context.settings.base_url).model_dump(mode="json")
    await socket.send_str(json.dumps({"type": UPDATED, "data": data}))


def _message(call: Call[Any, Any], entry: EventEntry) -> str:
    document = json.loads(entry.payload)
    if path := document["data"].get("logs_url"):
        document["data"]["logs_url"] = call.context.settings.base_url + path
    return json.dumps({"id": entry.id, **document})


def _visible(call: Call[Any, Any]) -> QuerySet[EventEntry]:
    names = call.principal.limited_to(Role.VIEW)
    return EventEntry.all() if names is None else EventEntry.filter(repository_name__in=list(names))


async def _newest_id() -> int:
    newest = await EventEntry.all().using_db(reader()).order_by("-id").first().only("id")
    return newest.id if newest else 0


ROUTES = (
    Route(
        "GET", "/api/events", Role.VIEW, follow_all, "A WebSocket: everything that happens",
        query=EventsQuery, status=HTTPStatus.SWITCHING_PROTOCOLS, also=(HTTPStatus.BAD_REQUEST,), by_repository=True,
    ),
    Route(
        "GET", "/api/jobs/{id}/events", Role.VIEW, follow_job, "A WebSocket: one job until it has ended",
        status=HTTPStatus.SWITCHING_PROTOCOLS, also=(HTTPStatus.BAD_REQUEST,), by_repository=True,
    ),
)  # fmt: skip
