"""What is said of a request that was accepted, as a job or as a question."""

from bot.commands.asking import Answer
from bot.question import question_buttons
from jobs import confirmations
from jobs.confirmations import ConfirmationState
from jobs.models import Confirmation, Job
from jobs.submit import CONFIRM_WITHIN_MINUTES, Accepted
from jobs.types import JOB_TYPES


async def told(outcome: Accepted | Confirmation) -> Answer:
    """`Job #7 is queued: …`, or the question with its buttons."""
    if isinstance(outcome, Accepted):
        return queued(outcome.job)
    if outcome.state == ConfirmationState.CONFIRMED and outcome.job_id:
        return queued(await Job.get(id=outcome.job_id))
    return _question(outcome)


def queued(job: Job) -> Answer:
    """`Job #7 is queued: backup of photos on nas-1.`"""
    return Answer(f"Job #{job.id} is queued: {described(job)}.", job.id)


def described(job: Job) -> str:
    """`backup of photos on nas-1`."""
    kind = JOB_TYPES.get(job.kind)
    noun = kind.words.noun.lower() if kind else job.kind
    what = job.repository_name or (kind.subject(job.parameters) if kind else None)
    of = f" {kind.words.preposition if kind else 'of'} {what}" if what else ""
    return f"{noun}{of} on {job.host}"


def _question(row: Confirmation) -> Answer:
    state = confirmations.state_of(row)
    if state is not ConfirmationState.WAITING:
        return Answer(f"Confirmation {row.id} is {state}; nothing was done. Ask again if it is to be done.")
    who = "Somebody else with the right must confirm" if row.second_person else "Confirm"
    where = " They are asked where the job's thread would be." if row.second_person else ""
    within = f"{who} within {CONFIRM_WITHIN_MINUTES} minutes, else nothing is done (confirmation {row.id}).{where}"
    return Answer("\n".join((*row.plan, within)), buttons=question_buttons(row), confirmation_id=row.id)
