"""The answer to whoever starts a job, and the key by which the same request is known again."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from jobs.errors import InvalidRequestError
from jobs.models import Job
from jobs.submit import IDEMPOTENCY_KEY
from webhooks.route import Answer, Call

KEY_LENGTH = 150
GREATEST_WAIT_S = 60


class Started(BaseModel):
    """An accepted job, and where to look at it; `wait_url` holds its answer until the job has ended."""

    job_id: int
    status: str
    status_url: str
    wait_url: str


def started(call: Call[Any, Any], job: Job) -> Answer:
    """202 with the job and where to look at it."""
    body = started_body(call, job.id, job.status)
    return Answer(body, headers={"Location": body.status_url}, status=HTTPStatus.ACCEPTED)


def started_body(call: Call[Any, Any], job_id: int, status: str) -> Started:
    """The job with its addresses."""
    url = f"{call.context.settings.base_url}/api/jobs/{job_id}"
    return Started(job_id=job_id, status=status, status_url=url, wait_url=f"{url}?wait={GREATEST_WAIT_S}")


def request_key(call: Call[Any, Any]) -> str | None:
    """The request's name across repetitions: who asks, and the `Idempotency-Key`; None without one."""
    key = call.request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not key.strip() or len(key) > KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise InvalidRequestError(IDEMPOTENCY_KEY, f"give 1 to {KEY_LENGTH} printable ASCII characters.")
    return f"{call.principal.subject}:{key}"
