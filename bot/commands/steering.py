"""The commands for a job that there is: end it, run it again."""

from dataclasses import replace

from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values
from bot.commands.lookup import visible_job
from bot.commands.outcome import told
from bot.commands.starting import job_request
from bot.commands.watching import JOB
from jobs.access import Role
from jobs.cancel import cancel
from jobs.chain import unfinished_step
from jobs.submit import retry_request, submit_or_ask
from jobs.view import JobStatus


async def _cancel(asker: Asker, values: Values) -> Answer:
    number = values["job"]
    before = await visible_job(asker, number)
    if JobStatus(before.status).final and await unfinished_step(before) is None:
        return Answer(f"Job #{number} is {before.status} already.", number)
    job = await cancel(number, asker.principal, origin=asker.origin, asked_in=asker.channel)
    if job.status == JobStatus.RUNNING:
        return Answer(f"Job #{job.id} is being cancelled; its thread will say when it has stopped.", job.id)
    return Answer(f"Job #{job.id} is {job.status}.", job.id)


async def _retry(asker: Asker, values: Values) -> Answer:
    job = await visible_job(asker, values["job"])
    return await told(await submit_or_ask(await retry_request(job.id, replace(job_request(asker), join_retry=True))))


COMMANDS = (
    Command("cancel", "ends a job", _cancel, Role.OPERATE, (JOB,)),
    Command("retry", "runs an ended job again", _retry, Role.OPERATE, (JOB,)),
)
