"""What each message of a job's thread should show now."""

from bot.card import LOG_TAIL_LINES, Message, end_message, failure_message, job_card, progress_message
from jobs import log_store
from jobs.clock import now
from jobs.models import Confirmation, Job
from jobs.present import view
from jobs.threads import CARD, END, PROGRESS
from jobs.types import JOB_TYPES
from jobs.view import JobView
from jobs.waiting import standing_of
from worker.posting import Wanted, as_wanted


async def seen(job: Job) -> JobView:
    """The job as its thread shows it."""
    return view(job, await standing_of(job))


async def wanted(job: JobView, part: str) -> Wanted:
    """The newest content of one part of the job's thread."""
    return as_wanted(await _message(job, part))


async def _chain(job: JobView) -> list[JobView]:
    return [view(step) for step in await Job.filter(parent_id=job.id).order_by("id")]


async def _again(job: JobView) -> list[JobView]:
    return [view(next_one) for next_one in await Job.filter(retry_of=job.id).order_by("id")] if job.status.final else []


async def _confirmed_by(job: JobView) -> str | None:
    question = await Confirmation.get_or_none(job_id=job.id)
    return question.decided_by if question else None


async def _message(job: JobView, part: str) -> Message:
    # None for a type that was removed meanwhile: its jobs' threads must end all the same.
    kind = JOB_TYPES.get(job.kind)
    words = kind.words if kind else None
    if part == CARD:
        return job_card(
            job, words=words, chain=await _chain(job), again=await _again(job), confirmed_by=await _confirmed_by(job)
        )
    if part == PROGRESS:
        return progress_message(job, now=now(), words=words)
    if part == END:
        return end_message(job, words=words)
    return failure_message(job, await log_store.tail(job.id, LOG_TAIL_LINES))
