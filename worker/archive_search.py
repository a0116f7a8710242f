"""Asking the repository for the archive of a run that nobody saw end, or that failed before its job is tried again."""

import re

from jobs.borg.outcome import Verdict
from jobs.borg.statistics import ArchiveStatistics, MalformedStatistics, parse_info_archives
from jobs.job_type import Run
from jobs.models import Repository
from jobs.secrets import HostKey
from jobs.settings import Settings
from worker.ask_borg import Bounds, ask_borg, outcome_of
from worker.passphrase import PassphraseUnavailableError, passphrase_of

SEARCH_TIMEOUT_S = 600
LOCK_WAIT_S = 60
LONGEST_ANSWER = 16 * 1024 * 1024


class CannotAskError(Exception):
    """The repository could not be asked, so whether the archive is there stays unknown: an error code, a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


async def find_archive(settings: Settings, repository: Repository, run: Run, key: HostKey) -> ArchiveStatistics | None:
    """The run's archive with borg's own figures, None when it is not there; raises `CannotAskError`."""
    if run.archive_name is None:
        return None
    try:
        secret = await passphrase_of(repository, key)
    except PassphraseUnavailableError as error:
        raise CannotAskError("passphrase_unavailable", str(error)) from error
    # By a pattern, as an archive that is not there is then an empty answer and no error.
    name = re.sub(r"([*?\[])", r"[\1]", run.archive_name)
    options = ("--json", "--log-json", "--lock-wait", str(LOCK_WAIT_S), "--glob-archives", name)
    arguments = ("info", *options, "--", repository.location)
    try:
        return parse_info_archives(await _answer(settings, repository, arguments, secret))
    except MalformedStatistics as error:
        raise CannotAskError("result_unreadable", f"{error} Look at the list of archives.") from error


async def _answer(
    settings: Settings, repository: Repository, arguments: tuple[str, ...], secret: bytes | None
) -> bytes:
    try:
        reply = await ask_borg(settings, repository, arguments, Bounds(SEARCH_TIMEOUT_S, LONGEST_ANSWER), secret)
    except TimeoutError as error:
        sentence = f"borg gave no list of archives in {SEARCH_TIMEOUT_S} s. Look at the host and its network."
        raise CannotAskError("connection_lost", sentence) from error
    except OSError as error:
        raise CannotAskError("borg_missing", f"borg can't be run: {error}. Mend that on the host.") from error
    outcome = outcome_of(reply, repository)
    if outcome.verdict in {Verdict.SUCCESS, Verdict.WARNING}:
        return reply.output
    raise CannotAskError(outcome.code or "failed", outcome.sentence or "borg could not be asked.")
