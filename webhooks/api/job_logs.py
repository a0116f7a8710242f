"""A job's log as a stream that goes on while the job runs. It reads the database: any gateway can serve it."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from aiohttp import ClientConnectionResetError, web
from pydantic import BaseModel, ConfigDict

from jobs import log_store
from jobs.database.unit import reader
from jobs.models import Job
from jobs.queue import Queue
from webhooks.route import Call

LOOK_AGAIN_S = 2.0
HEADERS = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold the lines back until a buffer is full
}


class LogQuery(BaseModel):
    """`follow`: whether to wait for what is still to come (the default)."""

    model_config = ConfigDict(extra="forbid")

    follow: bool = True


async def stream_log(call: Call[None, LogQuery], job: Job) -> web.StreamResponse:
    """Send the log piece by piece; a client that has gone is noticed within 2 s."""
    response = web.StreamResponse(headers=HEADERS)
    with suppress(ClientConnectionResetError):
        await response.prepare(call.request)
        async for piece in log(call.context.queue, job.id, follow=call.query.follow, wanted=call.connected):
            await response.write(piece)
        await response.write_eof()
    return response


async def log(queue: Queue, job_id: int, *, follow: bool, wanted: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's pieces, with `follow` also those to come until the job has ended; a line of ours if there are none."""
    at = log_store.Position()
    job = None
    with queue.ear(job_id) as ear:
        while wanted():
            # Asked first: what was stored before the end is then all there to be read.
            job = await Job.filter(id=job_id).using_db(reader()).first()
            async for piece, reached in log_store.read(job_id, at):
                at = reached
                yield piece
            if job is None or job.completed_at or not follow:
                break
            await ear.wait(LOOK_AGAIN_S)
    if job is not None and at == log_store.Position():
        yield _nothing_logged(job)


def _nothing_logged(job: Job) -> bytes:
    reason = f": {job.error_message}" if job.error_message else "."
    return f"Job #{job.id} ({job.kind}) is {job.status} and has logged nothing{reason}\n".encode()
