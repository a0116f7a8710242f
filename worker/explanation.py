"""Looking closer at a failure whose cause borg does not tell: what ssh says for itself."""

import shlex
from dataclasses import replace

from jobs.borg.log_text import codes_of_error
from jobs.borg.outcome import TRANSIENT, explain
from jobs.models import Repository
from jobs.settings import Settings
from jobs.ssh import SshPlace, ssh_place
from worker.ask import ask
from worker.ending import Conclusion
from worker.ssh_files import shell_of

PROBE_TIMEOUT_S = 45
LONGEST_ANSWER = 65_536


async def explained(settings: Settings, repository: Repository, conclusion: Conclusion) -> Conclusion:
    """The same with a cause that needs somebody, where there is one; else as it is."""
    place = ssh_place(repository.location)
    if place is None or conclusion.ending.error_code != "connection_lost":
        return conclusion
    # borg, whose connection is closed, does not always wait for what ssh has to say of it.
    code = await _what_ssh_says(settings, repository, place)
    if code is None:
        return conclusion
    sentence = explain(code, repository=repository.name, location=repository.location)
    footer = f"{conclusion.footer}Locutus: {sentence}\n"
    return replace(
        conclusion,
        ending=replace(conclusion.ending, error_code=code, error_message=sentence),
        footer=footer,
        passing=None,
    )


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
