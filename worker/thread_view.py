"""What each message of a job's thread should show now."""

import hashlib
from dataclasses import dataclass

from bot.card import LOG_TAIL_LINES, Message, failure_message, job_card, progress_message
from jobs import log_store
from jobs.clock import now
from jobs.models import ChatMessage, Job
from jobs.present import view
from jobs.threads import CARD, PROGRESS
from jobs.types import JOB_TYPES


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message as it should be, and a digest that tells it from any other."""

    message: Message
    digest: str


async def wanted(job: Job, row: ChatMessage) -> Wanted:
    """The newest content of one part of the job's thread."""
    message = await _message(job, row.part)
    return Wanted(message, hashlib.sha256(repr(message).encode()).hexdigest())


async def _message(job: Job, part: str) -> Message:
    kind = JOB_TYPES.get(
        job.kind
    )  # None for a type that was removed meanwhile: its jobs' threads must end all the same
    shown, words = view(job), kind.words if kind else None
    if part == CARD:
        return job_card(shown, words=words)
    if part == PROGRESS:
        return progress_message(shown, now=now(), words=words)
    return failure_message(shown, await log_store.tail(job.id, LOG_TAIL_LINES))
