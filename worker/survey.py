"""Before a restore begins: may it write there, what is there to write, and is there room for it."""

import asyncio

from jobs import runtime_settings
from jobs.borg.inventory import totals_of
from jobs.borg.outcome import Verdict
from jobs.job_type import Destination, JobType
from jobs.models import Job, Repository
from jobs.settings import Settings
from worker import destination, supervision
from worker.archive_search import CannotAskError
from worker.ask_borg import Bounds, ask_borg, outcome_of
from worker.destination import REFUSED, UnusableDestinationError
from worker.passphrase import PassphraseUnavailableError, passphrase_of
from worker.preparation import CannotPrepareError, first_line, run_of
from worker.recording import HostIdentity
from worker.run_directory import RunDirectory
from worker.ssh_files import SshUnpreparedError, prepare_ssh

BOUNDS = Bounds(timeout_s=3600.0, limit=0)
"""For the list of one archive: of many million files, on a slow disk."""


async def survey(job: Job, kind: JobType, identity: HostIdentity) -> None:
    """Leave the inventory in the run directory, and the destination made; raises CannotPrepareError."""
    repository, place = await job.get_repository(), kind.destination(job.parameters)
    if repository is None or place is None:
        return
    try:
        await _look(place, repository, identity.settings)
        size = await _take_inventory(job, kind, repository, identity)
        await asyncio.to_thread(destination.make, place, size)
    except (UnusableDestinationError, CannotAskError) as error:
        raise CannotPrepareError(error.code, error.sentence, first_line(job)) from error
    except OSError as error:  # a directory that may not be looked into, a full disk of the worker's own
        sentence = f"The restore to {place.path} can't be prepared ({error.strerror}). Mend that, then run it again."
        raise CannotPrepareError(REFUSED, sentence, first_line(job)) from error


async def _look(place: Destination, repository: Repository, settings: Settings) -> None:
    roots = (await runtime_settings.load()).restore_roots
    forbidden = [str(settings.data_dir), *([repository.location] if repository.location.startswith("/") else [])]
    await asyncio.to_thread(destination.require_allowed, place, forbidden, roots)


async def _take_inventory(job: Job, kind: JobType, repository: Repository, identity: HostIdentity) -> int:
    """List what will be written, and return its bytes; raises CannotAskError."""
    run = identity.directory(job)
    await asyncio.to_thread(supervision.make, run)
    secret = await _secret(repository, identity)
    arguments = kind.inventory(run_of(job, repository))
    try:
        with run.inventory.open("wb") as file:
            reply = await ask_borg(identity.settings, repository, arguments, BOUNDS, secret, file)
    except TimeoutError as error:
        sentence = f"borg gave no list of the archive in {BOUNDS.timeout_s:g} s. Look at the host and its network."
        raise CannotAskError("connection_lost", sentence) from error
    except OSError as error:
        raise CannotAskError("borg_missing", f"The archive can't be listed: {error}. Mend that on the host.") from error
    outcome = outcome_of(reply, repository)
    if outcome.verdict not in {Verdict.SUCCESS, Verdict.WARNING}:
        raise CannotAskError(outcome.code or "failed", outcome.sentence or "borg could not list the archive.")
    return await asyncio.to_thread(_size, run)


async def _secret(repository: Repository, identity: HostIdentity) -> bytes | None:
    try:
        await prepare_ssh(identity.settings, repository)
        return await passphrase_of(repository, identity.key)
    except SshUnpreparedError as error:
        raise CannotAskError(error.code, str(error)) from error
    except PassphraseUnavailableError as error:
        raise CannotAskError("passphrase_unavailable", str(error)) from error


def _size(run: RunDirectory) -> int:
    try:
        with run.inventory.open("rb") as lines:
            return totals_of(lines).size
    except ValueError as error:
        raise CannotAskError("result_unreadable", f"borg's list of the archive can't be read ({error}).") from error
