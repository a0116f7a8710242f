"""What a claimed job runs: command, environment and secret, built before anything is started."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.borg.environment import inherited
from jobs.borg.log_text import harmless
from jobs.database.unit import reader
from jobs.job_type import JobType, Run, Target
from jobs.lifecycle import StaleMoveError
from jobs.models import Job, Repository
from jobs.place import schedule_of, target_of
from jobs.secrets import HostKey
from jobs.settings import Settings
from jobs.types import job_type
from jobs.view import JobStatus
from worker.borg_access import BorgAccess, borg_access
from worker.borg_version import known_borg_version
from worker.lock_holders import Life, described, held_by
from worker.passphrase import PassphraseUnavailableError, passphrase_of
from worker.programs import BORG, command_of
from worker.run_directory import RunSpecification
from worker.ssh_files import SshUnpreparedError, prepare_ssh

START_WITHIN_S = 30.0
"""A supervisor that comes later than this after its claim starts nothing: its worker was paused meanwhile."""


class CannotPrepareError(Exception):
    """The job can't be run as it stands: an error code, a sentence that says what to do, and the log's first line."""

    def __init__(self, code: str, sentence: str, header: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.header = header


@dataclass(frozen=True, slots=True)
class Preparation:
    """Everything that starting a run needs; `secret` goes through a pipe and nowhere else."""

    run: Run
    specification: RunSpecification
    environment: Mapping[str, str]
    secret: bytes | None
    header: str


async def prepare(job: Job, settings: Settings, key: HostKey) -> Preparation:
    """Build the run of a claimed job; raises `CannotPrepareError`, or `StaleMoveError` if it is claimed no more."""
    kind, repository = job_type(job.kind), await job.get_repository(reader())
    if repository is None and kind.needs_repository:
        sentence = f"The repository {job.repository_name} was removed meanwhile. Add it again to run this."
        raise CannotPrepareError("repository_removed", sentence, first_line(job))
    run = run_of(job, repository, await schedule_of(job))
    access = _access(kind, settings, repository)
    argv = (*access.command, *kind.arguments(run))
    header = _header(job, kind, run.target, argv, settings)
    secret = await _secret(repository, key, header)
    await _ready(settings, repository, header)
    if kind.breaks_lock and repository is not None:
        await _require_abandoned(job, settings, repository, header)
    specification = _specification(job, kind, run, argv)
    await _require_claim(job)
    return Preparation(
        run=run,
        specification=specification,
        environment=access.environment,
        secret=secret,
        header=header,
    )


def first_line(job: Job) -> str:
    """The first line of the log of a run that comes to nothing before its command is known."""
    return f"{_subject(job)} on {job.host}\n"


def _access(kind: JobType, settings: Settings, repository: Repository | None) -> BorgAccess:
    if kind.program == BORG and repository is not None:
        return borg_access(settings, repository)
    return BorgAccess(command_of(kind.program, settings), inherited(os.environ))


async def _ready(settings: Settings, repository: Repository | None, header: str) -> None:
    """What ssh needs stands on this host before borg calls it."""
    try:
        if repository is not None:
            await prepare_ssh(settings, repository)
    except SshUnpreparedError as error:
        raise CannotPrepareError(error.code, str(error), header) from error


async def _require_abandoned(job: Job, settings: Settings, repository: Repository, header: str) -> None:
    """That whoever holds the lock is dead, unless the asker answers for that."""
    held = await held_by(settings, repository)
    if job.parameters.get("override") or (held is not None and all(each.life is Life.DEAD for each in held)):
        return
    holders = await described(settings, repository)
    sentence = (
        f"The lock of {repository.name} was not broken, as its holder may live. {holders} If nobody uses the "
        f"repository, say why: `/backup unlock {repository.name} --override REASON`."
    )
    raise CannotPrepareError("lock_holder_may_live", sentence, header)


async def _secret(repository: Repository | None, key: HostKey, header: str) -> bytes | None:
    try:
        return await passphrase_of(repository, key) if repository else None
    except PassphraseUnavailableError as error:
        raise CannotPrepareError("passphrase_unavailable", str(error), header) from error


async def _require_claim(job: Job) -> None:
    """Once the time to start is fixed: a pause before it shows here, one after it makes the supervisor late."""
    if not await Job.filter(id=job.id, attempt=job.attempt, status=JobStatus.RUNNING).exists():
        raise StaleMoveError(f"Job {job.id}, attempt {job.attempt}, was put back while its worker was paused.")


def run_of(job: Job, repository: Repository | None, schedule: str = "") -> Run:
    """The run as the job type sees it; without a repository it works on the host, or on what was removed."""
    if repository is None:
        return Run(job.id, Target(job.repository_name or job.host, location=""), job.parameters, job.archive_name)
    return Run(job.id, target_of(repository, schedule), job.parameters, job.archive_name)


def _specification(job: Job, kind: JobType, run: Run, argv: tuple[str, ...]) -> RunSpecification:
    return RunSpecification(
        job_id=job.id,
        attempt=job.attempt,
        kind=job.kind,
        argv=argv,
        timeout_s=kind.timeout_s,
        start_before_s=time.clock_gettime(time.CLOCK_BOOTTIME) + START_WITHIN_S,
        interrupt_first=kind.interrupt_first,
        terminate_patience_s=kind.terminate_patience_s,
        working_directory=kind.working_directory(run),
    )


def _header(job: Job, kind: JobType, target: Target, argv: tuple[str, ...], settings: Settings) -> str:
    place = f" at {target.location}" if target.location else ""
    version = f", borg {known_borg_version(settings.borg) or 'of unknown version'}" if kind.program == BORG else ""
    return f"{_subject(job)}{place} on {job.host}{version}: {harmless(' '.join(argv))}\n"


def _subject(job: Job) -> str:
    return f"Locutus: job #{job.id}, {job.kind}" + (f" of {job.repository_name}" if job.repository_name else "")
