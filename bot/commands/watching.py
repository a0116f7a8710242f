"""The commands that only look: what runs and waits, the repositories, the newest jobs, a job's last log lines."""

from bot import wording
from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values
from bot.commands.lookup import repository_named, visible_job, visible_jobs, visible_repositories
from bot.commands.outcome import described
from bot.commands.overdue import overdue_lines
from bot.figures import share_done
from jobs.access import Role
from jobs.command_words import Positional, WordType
from jobs.key_export import is_due, reminder
from jobs.log_store import tail
from jobs.models import Job, Repository
from jobs.view import JobStatus, Progress, Standing
from jobs.waiting import standing_of, standings

LIST_LIMIT = 20
LOG_LINES = 20
LOG_LINE_LIMIT = 160
JOB = Positional("job", WordType.JOB, "JOB", help="the job's number")
_UNFINISHED = {JobStatus.RUNNING: "running", JobStatus.PENDING: "waiting"}
_REPOSITORY = Positional("repository", WordType.REPOSITORY, "REPO", required=False)


async def _status(asker: Asker, values: Values) -> Answer:
    if "job" in values:
        job = await visible_job(asker, values["job"])
        return Answer(_job_line(job, await standing_of(job)), job.id)
    unfinished = visible_jobs(asker).filter(status__in=list(_UNFINISHED))
    shown = await unfinished.order_by("id").limit(LIST_LIMIT)
    counts = {word: await unfinished.filter(status=status).count() for status, word in _UNFINISHED.items()}
    found = await standings(shown)
    lines = [_job_line(job, found[job.id]) for job in shown] + (["…"] if sum(counts.values()) > LIST_LIMIT else [])
    counted = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    summary = f"{counted}:" if shown else "Nothing is running or waiting."
    return Answer("\n".join([summary, *lines, *await overdue_lines(asker)]))


async def list_repositories(asker: Asker, values: Values) -> Answer:
    """The repositories that the asker may see, each on a line."""
    del values
    seen = await visible_repositories(asker)
    if not seen:
        asker.principal.require(Role.VIEW, None, asker.channel)
        return Answer("There is no repository yet. Add one with `locutus repo add NAME LOCATION --source PATH`.")
    lines = [_repository_line(row) for row in seen[:LIST_LIMIT]]
    return Answer("\n".join([*lines, *(["…"] if len(seen) > LIST_LIMIT else [])]))


async def _history(asker: Asker, values: Values) -> Answer:
    named = values.get("repository")
    lines = await _newest(asker, named)
    if named and not lines:
        lines = await _newest(asker, (await repository_named(asker, named)).name)
    return Answer("\n".join(lines) or "There is no job yet.")


async def _newest(asker: Asker, repository: str | None) -> list[str]:
    """By name, as the jobs of a repository that was removed have kept it."""
    jobs = visible_jobs(asker)
    of_repository = jobs.filter(repository_name=repository) if repository else jobs
    return [_job_line(job) for job in await of_repository.order_by("-id").limit(LIST_LIMIT)]


async def _logs(asker: Asker, values: Values) -> Answer:
    job = await visible_job(asker, values["job"])
    lines = [wording.clip(wording.log_line(line), LOG_LINE_LIMIT) for line in await tail(job.id, LOG_LINES)]
    return Answer(f"The last lines of job #{job.id}, which is {job.status}:", job.id, code="\n".join(lines))


def _repository_line(repository: Repository) -> str:
    last = wording.moment(repository.last_backup) if repository.last_backup else "never"
    due = f". {reminder(repository.name)}" if is_due(repository) else ""
    return f"{repository.name} on {repository.host}, last backup {last}{due}"


def _job_line(job: Job, standing: Standing | None = None) -> str:
    line = f"#{job.id} {described(job)}: {job.status}"
    progress = Progress.model_validate(job.progress)
    if job.status == JobStatus.RUNNING and (bar := share_done(progress)):
        line += f", {bar.caption}"
        line += f", {wording.rough_duration(progress.eta_s)} left" if progress.eta_s is not None else ""
    line += _situation(job, standing) if standing else ""
    return f"{line}. {job.error_message}" if job.error_message else line


def _situation(job: Job, standing: Standing) -> str:
    silent = standing.host_silent_since
    told = f", host silent since {wording.moment(silent)}" if silent else ""
    if standing.waits_for:
        return f", waiting for {standing.waits_for}{told}"
    if job.status == JobStatus.PENDING and job.not_before:
        return f", not before {wording.soon(job.not_before)}{told}"
    return told


COMMANDS = (
    Command(
        "status", "shows what runs and waits, or one job", _status,
        positionals=(Positional("job", WordType.JOB, "JOB", required=False),),
    ),
    Command("list", "shows the repositories", list_repositories),
    Command("history", "shows the newest jobs", _history, positionals=(_REPOSITORY,)),
    Command("logs", "shows a job's last log lines", _logs, positionals=(JOB,)),
)  # fmt: skip
