"""Asking the repository for the archive of a run that nobody saw end."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE

from jobs.borg.environment import environment
from jobs.borg.statistics import ArchiveStatistics, MalformedStatistics, parse_info_archives
from jobs.job_type import Run
from jobs.models import Repository
from jobs.secrets import HostKey
from worker.passphrase import PassphraseUnavailableError, passphrase_of
from worker.secret_pipe import secret_pipe
from worker.supervisor import SECRET_VARIABLE

SEARCH_TIMEOUT_S = 600
LOCK_WAIT_S = 60


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
            process = await asyncio.create_subprocess_exec(
                *argv, env=variables, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, pass_fds=descriptors
            )
        except OSError:
            return None
    try:
        async with asyncio.timeout(SEARCH_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.terminate()
        await process.wait()
        return None
    return output if process.returncode in {0, 1} else None
