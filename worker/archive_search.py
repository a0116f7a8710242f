"""Asking the repository for the archive of a run that nobody saw end."""

import os
import re

from jobs.borg.environment import environment
from jobs.borg.statistics import ArchiveStatistics, MalformedStatistics, parse_info_archives
from jobs.job_type import Run
from jobs.models import Repository
from jobs.secrets import HostKey
from worker.ask import ask
from worker.passphrase import PassphraseUnavailableError, passphrase_of
from worker.secret_pipe import secret_pipe
from worker.supervisor import SECRET_VARIABLE

SEARCH_TIMEOUT_S = 600
LOCK_WAIT_S = 60
LONGEST_ANSWER = 16 * 1024 * 1024


class CannotAskError(Exception):
    """The repository could not be asked: whether the archive is there stays unknown."""


async def find_archive(borg: str, repository: Repository, run: Run, key: HostKey) -> ArchiveStatistics | None:
    """The run's archive with borg's own figures, None when it is not there; raises `CannotAskError`."""
    if run.archive_name is None:
        return None
    try:
        secret = await passphrase_of(repository, key)
    except PassphraseUnavailableError as error:
        raise CannotAskError(str(error)) from error
    # By a pattern, as an archive that is not there is then an empty answer and no error.
    name = re.sub(r"([*?\[])", r"[\1]", run.archive_name)
    argv = (borg, "info", "--json", "--lock-wait", str(LOCK_WAIT_S), "--glob-archives", name, "--", repository.location)
    try:
        return parse_info_archives(await _ask(argv, secret))
    except MalformedStatistics as error:
        raise CannotAskError(str(error)) from error


async def _ask(argv: tuple[str, ...], secret: bytes | None) -> bytes:
    variables = environment(os.environ, base_dir=None, passphrase_given=secret is not None)
    with secret_pipe(secret) as descriptors:
        variables |= {SECRET_VARIABLE: str(descriptors[0])} if descriptors else {}
        try:
            reply = await ask(argv, SEARCH_TIMEOUT_S, LONGEST_ANSWER, variables, descriptors)
        except OSError as error:  # also a TimeoutError
            raise CannotAskError(f"borg info could not be run: {error}") from error
    if reply.status not in {0, 1}:
        raise CannotAskError(f"borg info ended with status {reply.status}")
    return reply.output
