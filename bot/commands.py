"""The command grammar of `/backup`, declared once for every platform: what can be typed, who may, and what is answered.

An answer is private to the asker; what the channel sees is the job's card. What the asker may not look at is answered
as if it did not exist; who may look at nothing is refused before anything is looked up.
"""

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import TypeAdapter, ValidationError

from bot import wording
from jobs.access import Principal, Role
from jobs.cancel import cancel
from jobs.database.unit import reader
from jobs.errors import InvalidRequestError, NotFoundError, RequestRefusedError
from jobs.log_store import tail
from jobs.models import Job, Repository
from jobs.repository_fields import RepositoryName
from jobs.submit import Accepted, JobRequest, retry, submit
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, Standing
from jobs.waiting import standing_of, standings

LIST_LIMIT = 20
LOG_LINES = 20
LOG_LINE_LIMIT = 160
_SAID_LIMIT = 80
_REF = "#"
_NAME = TypeAdapter(RepositoryName)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who typed a command, where, and the key under which a repetition of it is recognised."""

    principal: Principal
    origin: str
    channel: str | None
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the asker is told; `job_id` when a job came of it or was meant. `code` is text to show as it stands."""

    text: str
    job_id: int | None = None
    code: str | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command: how it is written, what it does, the function that does it, and the role it takes, if any."""

    name: str
    usage: str
    summary: str
    carry_out: Callable[[Asker, Sequence[str]], Awaitable[Answer]]
    role: Role | None = Role.VIEW


async def answer(text: str, asker: Asker) -> Answer:
    """Carry out what was typed after `/backup`; what is refused is answered with the reason and changes nothing."""
    try:
        words = _words(text)
        command = _command(words[0].lower() if words else "help")
        _let_in(asker, command, words[1:])
        return await command.carry_out(asker, words[1:])
    except RequestRefusedError as refusal:
        return Answer(str(refusal), refused=True)


def _let_in(asker: Asker, command: Command, words: Sequence[str]) -> None:
    """Refuse who may do nothing here, in the same words whether or not what was named exists."""
    if command.role is not None and not asker.principal.may_anything(asker.channel):
        asker.principal.require(command.role, _named_repository(command, words), asker.channel)


def _named_repository(command: Command, words: Sequence[str]) -> str | None:
    try:
        return _NAME.validate_python(words[0]) if "REPO" in command.usage and words else None
    except ValidationError:
        return None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidRequestError("command", "a quotation mark is not closed.") from error


def _command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean `/backup {near[0]}`?" if near else "`/backup help` shows the commands there are."
    raise NotFoundError(f"There is no command {_said(name)}. {hint}")


def _said(word: str) -> str:
    """A word of the asker's, quoted."""
    return repr(wording.clip(word, _SAID_LIMIT))


def _only(words: Sequence[str], usage: str) -> str:
    if len(words) != 1:
        raise InvalidRequestError("command", f"write `/backup {usage}`.")
    return words[0]


def _job_number(words: Sequence[str], usage: str) -> int:
    word = _only(words, usage).removeprefix(_REF)
    if not word.isdecimal() or len(word) > 9:
        raise InvalidRequestError("job", f"write the job's number: `/backup {usage}`.")
    return int(word)


async def _visible_job(asker: Asker, job_id: int) -> Job:
    job = await Job.get_or_none(id=job_id)
    if job is None or not _may_see(asker, job.repository_name):
        raise NotFoundError(f"There is no job #{job_id}. `/backup status` shows what runs.")
    return job


def _accepted(accepted: Accepted) -> Answer:
    job = accepted.job
    noun = JOB_TYPES[job.kind].words
    return Answer(
        f"Job #{job.id} is queued: {noun.noun.lower()} {noun.preposition} {job.repository_name} on {job.host}.", job.id
    )


def _starter(kind: str, usage: str) -> Callable[[Asker, Sequence[str]], Awaitable[Answer]]:
    async def start(asker: Asker, words: Sequence[str]) -> Answer:
        return _accepted(await submit(_request(asker, kind, await _repository_name(asker, _only(words, usage)))))

    return start


def _request(asker: Asker, kind: str = "", repository: str | None = None) -> JobRequest:
    return JobRequest(
        kind=kind,
        principal=asker.principal,
        origin=asker.origin,
        repository=repository,
        request_key=asker.request_key,
        channel=asker.channel,
        asked_in=asker.channel,
    )


async def _visible_repositories(asker: Asker) -> list[Repository]:
    rows = await Repository.all().using_db(reader()).order_by("name")
    return [row for row in rows if _may_see(asker, row.name)]


async def _repository_name(asker: Asker, reference: str) -> str:
    """The name of the repository with this name or id; one that the asker may not see does not exist."""
    visible = await _visible_repositories(asker)
    for row in visible:
        if reference in {row.name, str(row.id)}:
            return row.name
    near = get_close_matches(reference, [row.name for row in visible], n=1)
    hint = f"Did you mean {near[0]}?" if near else "`/backup list` shows those there are."
    raise NotFoundError(f"There is no repository {_said(reference)}. {hint}")


async def _list(asker: Asker, words: Sequence[str]) -> Answer:
    del words
    seen = await _visible_repositories(asker)
    if not seen:
        asker.principal.require(Role.VIEW, None, asker.channel)
        return Answer("There is no repository yet. Add one with `locutus repo add NAME LOCATION --source PATH`.")
    lines = [_repository_line(row) for row in seen[:LIST_LIMIT]]
    return Answer("\n".join([*lines, *(["…"] if len(seen) > LIST_LIMIT else [])]))


def _repository_line(repository: Repository) -> str:
    last = wording.moment(repository.last_backup) if repository.last_backup else "never"
    return f"{repository.name} on {repository.host}, last backup {last}"


async def _status(asker: Asker, words: Sequence[str]) -> Answer:
    if words:
        job = await _visible_job(asker, _job_number(words, "status [JOB]"))
        return Answer(_job_line(job, await standing_of(job)), job.id)
    unfinished = Job.filter(status__in=[JobStatus.PENDING, JobStatus.RUNNING]).using_db(reader())
    jobs = [job for job in await unfinished.order_by("id").limit(200) if _may_see(asker, job.repository_name)]
    shown = jobs[:LIST_LIMIT]
    found = await standings(shown)
    return Answer("\n".join(_job_line(job, found[job.id]) for job in shown) or "Nothing is running or waiting.")


async def _history(asker: Asker, words: Sequence[str]) -> Answer:
    jobs = Job.filter(repository_name=_only(words, "history [REPO]")) if words else Job.all()
    newest = await jobs.using_db(reader()).order_by("-id").limit(200)
    seen = [_job_line(job) for job in newest if _may_see(asker, job.repository_name)]
    if words and not seen:
        await _repository_name(asker, words[0])
    return Answer("\n".join(seen[:LIST_LIMIT]) or "There is no job yet.")


def _may_see(asker: Asker, repository: str | None) -> bool:
    return asker.principal.may(Role.VIEW, repository, asker.channel)


def _job_line(job: Job, standing: Standing | None = None) -> str:
    line = f"#{job.id} {job.kind} of {job.repository_name} on {job.host}: {job.status}"
    percent = job.progress.get("progress_percent")
    if job.status == JobStatus.RUNNING and percent is not None:
        line += f", {percent:.0f} %"
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


async def _logs(asker: Asker, words: Sequence[str]) -> Answer:
    job = await _visible_job(asker, _job_number(words, "logs JOB"))
    lines = [wording.clip(wording.log_line(line), LOG_LINE_LIMIT) for line in await tail(job.id, LOG_LINES)]
    return Answer(f"The last lines of job #{job.id}, which is {job.status}:", job.id, code="\n".join(lines))


async def _cancel(asker: Asker, words: Sequence[str]) -> Answer:
    number = _job_number(words, "cancel JOB")
    before = await _visible_job(asker, number)
    if JobStatus(before.status).final:
        return Answer(f"Job #{number} is {before.status} already.", number)
    job = await cancel(number, asker.principal, origin=asker.origin, asked_in=asker.channel)
    if job.status == JobStatus.RUNNING:
        return Answer(f"Job #{number} is being cancelled; its thread will say when it has stopped.", number)
    return Answer(f"Job #{number} is {job.status}.", number)


async def _retry(asker: Asker, words: Sequence[str]) -> Answer:
    job = await _visible_job(asker, _job_number(words, "retry JOB"))
    return _accepted(await retry(job.id, _request(asker)))


async def _help(asker: Asker, words: Sequence[str]) -> Answer:
    del asker, words
    return Answer("\n".join(f"`/backup {command.usage}` – {command.summary}" for command in COMMANDS.values()))


def _starting_commands() -> list[Command]:
    started = [job_type for job_type in JOB_TYPES.values() if job_type.command_word]
    return [
        Command(
            str(kind.command_word), usage, f"starts a {kind.words.noun.lower()}", _starter(kind.kind, usage), kind.role
        )
        for kind in started
        for usage in (f"{kind.command_word} REPO",)
    ]


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        *_starting_commands(),
        Command("status", "status [JOB]", "shows what runs and waits, or one job", _status),
        Command("list", "list", "shows the repositories", _list),
        Command("history", "history [REPO]", "shows the newest jobs", _history),
        Command("logs", "logs JOB", "shows a job's last log lines", _logs),
        Command("cancel", "cancel JOB", "ends a job", _cancel, Role.OPERATE),
        Command("retry", "retry JOB", "runs an ended job again", _retry, Role.OPERATE),
        Command("help", "help", "shows this", _help, None),
    )
}
