"""Asking the repository for the archive of a run that nobody saw end."""

import os

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


async def find_archive(borg: str, repository: Repository, run: Run, key: HostKey) -> ArchiveStatistics | None:
    """The run's archive with borg's own figures; None when it is not there or can't be asked for."""
    if run.archive_name is None:
        return None
    try:
        secret = await passphrase_of(repository, key)
    except PassphraseUnavailableError:
        return None
    argv = (borg, "info", "--json", "--lock-wait", str(LOCK_WAIT_S), "--", f"{repository.location}::{run.archive_name}")
    output = await _ask(argv, secret)
    try:
        return parse_info_archives(output) if output else None
    except MalformedStatistics:
        return None


async def _ask(argv: tuple[str, ...], secret: bytes | None) -> bytes | None:
    variables = environment(os.environ, base_dir=None, passphrase_given=secret is not None)
    with secret_pipe(secret) as descriptors:
        variables |= {SECRET_VARIABLE: str(descriptors[0])} if descriptors else {}
        try:
            reply = await ask(argv, SEARCH_TIMEOUT_S, LONGEST_ANSWER, variables, descriptors)
        except OSError:  # also a TimeoutError
            return None
    return reply.output if reply.status in {0, 1} else None
