"""A job's log as a stream that goes on while the job runs: as text, or as server-sent events where a client accepts
those. It reads the database: any gateway can serve it.
"""

from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import ClientConnectionResetError, web
from pydantic import BaseModel, ConfigDict

from jobs import log_store
from jobs.database.unit import reader
from jobs.lifecycle import HOST_LOST
from jobs.models import Job
from jobs.view import JobStatus
from webhooks.api import log_events
from webhooks.api.log_events import LogEvents
from webhooks.route import Call

LOOK_AGAIN_S = 2.0
TEXT, EVENTS = "text/plain", log_events.MEDIA_TYPE
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold the lines back until a buffer is full
}


class LogQuery(BaseModel):
    """`follow`: whether to wait for what is still to come (the default)."""

    model_config = ConfigDict(extra="forbid")

    follow: bool = True


async def stream_log(call: Call[None, LogQuery], job: Job) -> web.StreamResponse:
    """Send the log piece by piece; a client that has gone is noticed within 2 s."""
    as_events = EVENTS in call.request.headers.get("Accept", "")
    kind = {"Content-Type": f"{EVENTS if as_events else TEXT}; charset=utf-8"}
    response = web.StreamResponse(headers={**HEADERS, **kind})
    with suppress(ClientConnectionResetError):
        await response.prepare(call.request)
        await (_send_events(call, job, response) if as_events else _send_text(call, job, response))
        await response.write_eof()
    return response


async def _send_text(call: Call[None, LogQuery], job: Job, response: web.StreamResponse) -> None:
    async for piece, _ in log(call, job.id, log_store.Position()):
        await response.write(piece)


async def _send_events(call: Call[None, LogQuery], job: Job, response: web.StreamResponse) -> None:
    """A client that was cut off says the last event that it got, and goes on behind it."""
    events = LogEvents()
    begin = log_events.place_of(call.request.headers.get(log_events.LAST_EVENT_ID))
    async for piece, after in log(call, job.id, begin):
        if event := events.feed(piece, after):
            await response.write(event)
    now = await Job.filter(id=job.id).using_db(reader()).first()
    await response.write(events.end(JobStatus((now or job).status)))


async def log(
    call: Call[None, LogQuery], job_id: int, begin: log_store.Position
) -> AsyncIterator[tuple[bytes, log_store.Position]]:
    """The log's pieces with the position behind each, with `follow` also those to come until the job has ended; a line
    of ours if there are none.
    """
    at = begin
    job = None
    with call.context.queue.ear(job_id) as ear:
        while call.connected():
            # Asked first: what was stored before the end is then all there to be read.
            job = await Job.filter(id=job_id).using_db(reader()).first()
            async for piece, reached in log_store.read(job_id, at):
                at = reached
                yield piece, at
            if job is None or job.completed_at or not call.query.follow:
                break
            await ear.wait(LOOK_AGAIN_S)
    if job is not None and at == log_store.Position():
        yield _nothing_logged(job), at


def _nothing_logged(job: Job) -> bytes:
    if job.started_at and job.completed_at and job.error_code != HOST_LOST:
        whose = f"job #{job.id} ({job.kind}, {job.status})"
        return f"The log of {whose} is not kept any more (`retention_jobs`).\n".encode()
    reason = f": {job.error_message}" if job.error_message else "."
    return f"Job #{job.id} ({job.kind}) is {job.status} and has logged nothing{reason}\n".encode()
