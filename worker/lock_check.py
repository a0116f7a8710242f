"""Looking whether a run that was ended before its time left the repository locked."""

from dataclasses import dataclass

from jobs.borg.log_text import harmless
from jobs.borg.outcome import Verdict
from jobs.models import Repository
from jobs.settings import Settings
from worker.ask_borg import Bounds, ask_borg, outcome_of
from worker.lock_holders import described

LOCK_WAIT_S = 3
"""A `borg serve` whose client was ended needs a moment to give its lock back."""
BOUNDS = Bounds(timeout_s=15, limit=65_536)

STILL_IN_USE = "The repository is still locked: what was started could not be ended yet and goes on using it."


@dataclass(frozen=True, slots=True)
class LockReport:
    """What was found, as a sentence; `locked` only where that is certain."""

    sentence: str
    locked: bool = False


async def check_lock(settings: Settings, repository: Repository) -> LockReport:
    """Take the repository's lock for an instant, by `borg with-lock`, which needs neither key nor passphrase.

    borg itself clears a lock that a dead process of this host left, so what is found locked is held by somebody else.
    """
    arguments = ("with-lock", "--log-json", "--lock-wait", str(LOCK_WAIT_S), "--", repository.location, "true")
    try:
        reply = await ask_borg(settings, repository, arguments, BOUNDS)
    except TimeoutError:
        return _unknown(f"borg gave no answer in {BOUNDS.timeout_s} s.")
    except OSError as error:
        return _unknown(f"borg can't be run ({error.strerror}).")
    outcome = outcome_of(reply, repository)
    if outcome.verdict in {Verdict.SUCCESS, Verdict.WARNING}:
        return LockReport("The repository is not locked.")
    if outcome.code == "repository_locked":
        return LockReport(_locked(repository, await described(settings, repository)), locked=True)
    if outcome.code == "repository_missing":
        return LockReport(harmless(f"There is no repository at {repository.location}."))
    return _unknown(outcome.sentence or "borg failed.")


def _locked(repository: Repository, holders: str) -> str:
    return harmless(
        f"The repository {repository.name} is still locked. {holders} borg itself clears a lock that a dead process of "
        "this host left. See who holds it before you break it."
    )


def _unknown(reason: str) -> LockReport:
    return LockReport(f"Whether the repository is still locked could not be asked: {reason}")
