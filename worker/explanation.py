"""Looking closer at a failure of which borg does not tell all: what ssh says for itself, and who holds a lock."""

import shlex
from dataclasses import replace

from jobs.borg.log_text import codes_of_error
from jobs.borg.outcome import TRANSIENT, explain
from jobs.models import Repository
from jobs.repository_fields import PASSPHRASE_SOURCES
from jobs.settings import Settings
from jobs.ssh import SshPlace, ssh_place
from worker.ask import ask
from worker.ending import Conclusion
from worker.lock_holders import described
from worker.ssh_files import shell_of

PROBE_TIMEOUT_S = 45
LONGEST_ANSWER = 65_536


async def explained(settings: Settings, repository: Repository, conclusion: Conclusion) -> Conclusion:
    """The same with a cause that needs somebody, or with who holds the lock; else as it is."""
    code = conclusion.ending.error_code
    if code == "repository_locked":
        return _with_holders(conclusion, await described(settings, repository))
    if code == "unknown_repository" and not any(getattr(repository, source) for source in PASSPHRASE_SOURCES):
        return _caused(conclusion, repository, "repository_unencrypted")
    place = ssh_place(repository.location)
    if place is None or code != "connection_lost":
        return conclusion
    # borg, whose connection is closed, does not always wait for what ssh has to say of it.
    cause = await _what_ssh_says(settings, repository, place)
    return _caused(conclusion, repository, cause) if cause else conclusion


def _caused(conclusion: Conclusion, repository: Repository, code: str) -> Conclusion:
    sentence = explain(code, repository=repository.name, location=repository.location)
    ending = replace(conclusion.ending, error_code=code, error_message=sentence)
    return replace(conclusion, ending=ending, footer=f"{conclusion.footer}Locutus: {sentence}\n", passing=None)


def _with_holders(conclusion: Conclusion, holders: str) -> Conclusion:
    if not holders:
        return conclusion
    ending = replace(conclusion.ending, error_message=f"{conclusion.ending.error_message} {holders}")
    passing = f"{conclusion.passing} {holders}" if conclusion.passing else None
    return replace(conclusion, ending=ending, footer=f"{conclusion.footer}Locutus: {holders}\n", passing=passing)


async def _what_ssh_says(settings: Settings, repository: Repository, place: SshPlace) -> str | None:
    """The code of an error that does not pass by itself; None where ssh gets through, or where that can't be told."""
    login = f"{place.user}@" if place.user else ""
    server = ("-p", str(place.port), f"{login}{place.host.strip('[]')}")
    argv = (*shlex.split(shell_of(settings, repository)), *server, "--", repository.remote_path or "borg", "--version")
    try:
        reply = await ask(argv, PROBE_TIMEOUT_S, LONGEST_ANSWER)
    except OSError:  # also a TimeoutError
        return None
    said = reply.errors.decode(errors="replace").splitlines()
    codes = {code for line in said for code in codes_of_error(f"Remote: {line.strip()}")} - TRANSIENT
    return min(codes, default=None)
