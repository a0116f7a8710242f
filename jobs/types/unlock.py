"""`unlock`: borg break-lock, once the process that holds the lock is proven dead, or somebody answers for it.

https://borgbackup.readthedocs.io/en/stable/usage/lock.html#borg-break-lock
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from jobs.access import Role
from jobs.borg.events import Event
from jobs.job_type import JobType, Parameters, Result, RetryPolicy, Routes, Run, Target, Words
from jobs.view import Progress


class UnlockParameters(Parameters):
    """Why it may be broken although its holder may live."""

    override: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=500)] | None = Field(
        None, description="Why nobody can be using the repository, where that can't be proven"
    )


class Unlock(JobType):
    """The worker looks at the lock first: a lock that is in use must not be broken, or the repository will be."""

    kind = "unlock"
    words = Words(noun="Unlock", preposition="of", running="Unlocking")
    parameters = UnlockParameters
    role = Role.ADMINISTER
    routes = Routes(start="/api/repositories/{repo}/unlock")
    command_word = "unlock"
    breaks_lock = True
    timeout_s = 600.0
    retry = RetryPolicy(retries=0)

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg break-lock`, which needs neither key nor passphrase."""
        return ("break-lock", "--log-json", "--", run.target.location)

    def destroys(self, parameters: Mapping[str, Any]) -> bool:
        """Always asked back."""
        del parameters
        return True

    def plan(self, parameters: Mapping[str, Any], target: Target) -> tuple[str, ...]:
        """Under which condition the lock is broken."""
        reason = parameters.get("override")
        if not reason:
            return (f"Break the lock of {target.name} at {target.location}, if the process that holds it is dead.",)
        return (
            f"Break the lock of {target.name} at {target.location}, whoever holds it. The reason given: {reason}",
            "If a borg uses the repository at that moment, this can damage it.",
        )

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """It takes an instant."""
        del event
        return progress

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """What to do next."""
        del stdout, seen
        said = f"{run.target.name} is not locked any more. Check it before the next backup."
        return Result(Progress(progress_percent=100.0, progress_message=said))
