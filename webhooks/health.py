"""For balancers and supervisors: whether the process lives, and whether it can accept jobs."""

import asyncio
from http import HTTPStatus

from pydantic import BaseModel

from jobs.database.connection import CAUSES, is_migrated
from jobs.database.unit import reader
from jobs.hosts import is_silent
from jobs.models import ChatMessage, Host
from webhooks.route import PUBLIC, Answer, Plain, Route

DATABASE_TIMEOUT_S = 5.0


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """`ready` when jobs can be accepted; `degraded` names what they have to wait for."""

    status: str
    database: str
    degraded: list[str]


async def healthz(call: Plain) -> Health:
    """Alive."""
    del call
    return Health(status="ok")


async def readyz(call: Plain) -> Readiness | Answer:
    """Ready when the database answers and is migrated."""
    redis = await call.context.queue.answers()  # what it takes is no delay of the database
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            migrated = await is_migrated()
            states = {"redis": redis, "chat": await _chat_takes(), "workers": await _workers_answer()}
    except CAUSES as error:
        return _unready(f"does not answer ({type(error).__name__})")
    if not migrated:
        return _unready("is not migrated: run `locutus migrate`")
    degraded = [name for name, well in states.items() if not well]
    return Readiness(status="ready", database="ok", degraded=degraded)


async def _chat_takes() -> bool:
    """Whether no platform has failed to take a message that it is still to take."""
    failing = ChatMessage.filter(settled=False, failures__gt=0).exclude(state="refused")
    return not await failing.using_db(reader()).exists()


async def _workers_answer() -> bool:
    hosts = await Host.all().using_db(reader())
    return bool(hosts) and not any(is_silent(host) for host in hosts)


def _unready(database: str) -> Answer:
    body = Readiness(status="unready", database=database, degraded=[])
    return Answer(body, status=HTTPStatus.SERVICE_UNAVAILABLE)


ROUTES = (
    Route("GET", "/healthz", PUBLIC, healthz, "Whether the gateway lives", answer=Health),
    Route("GET", "/readyz", PUBLIC, readyz, "Whether jobs can be accepted", answer=Readiness),
)
