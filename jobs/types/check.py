"""`check`: borg check, whether a repository and its archives are whole. It never repairs.

https://borgbackup.readthedocs.io/en/stable/usage/check.html
"""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from jobs.borg.events import Event
from jobs.borg.options import REPORTING
from jobs.borg.stages import done, staged
from jobs.job_type import JobType, Parameters, Result, Routes, Run, Words
from jobs.view import Progress


class CheckParameters(Parameters):
    """How much is looked at; borg takes a time limit for the repository alone, and goes on there the next time."""

    max_duration: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Stop after so many seconds; the next check with a limit goes on there. Implies repository_only."""
    repository_only: bool | None = Field(default=None, validate_default=True)
    """Look at the repository's own structure, not at the archives in it."""
    verify_data: bool = False
    """Also read, decrypt and check all data: this may take very long."""

    @field_validator("repository_only")
    @classmethod
    def _implied(cls, given: bool | None, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic hands it over by place
        limited = info.data.get("max_duration") is not None
        if limited and given is False:
            raise ValueError("max_duration checks the repository only: leave this out, or the time limit")
        return bool(limited or given)

    @field_validator("verify_data")
    @classmethod
    def _of_archives(cls, given: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if given and info.data.get("repository_only"):
            raise ValueError("the data are the archives': leave out repository_only and max_duration, or this")
        return given


class Check(JobType):
    """Goes through segments, data and archives, each a stage of its own; damage is a failure."""

    kind = "check"
    words = Words(noun="Check", preposition="of", running="Checking")
    parameters = CheckParameters
    routes = Routes(
        start="/api/repositories/{repo}/check",
        status="/api/repositories/check-jobs/{id}",
        listing="/api/repositories/{repo}/check-jobs",
    )
    command_word = "check"
    done_at = "last_check"
    followed_by = frozenset({"prune", "compact"})

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg check`, never with `--repair`; `--info` makes it say what it found."""
        said = run.parameters
        limit = said.get("max_duration")
        return (
            "check", *REPORTING, "--info",
            *(("--repository-only",) if said.get("repository_only") else ()),
            *((f"--max-duration={limit}",) if limit else ()),
            *(("--verify-data",) if said.get("verify_data") else ()),
            "--", run.target.location,
        )  # fmt: skip

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """The stage that it is in, and how far."""
        return staged(event, progress)

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """Borg ends well only where it found nothing."""
        del stdout, seen
        limited = run.parameters.get("max_duration")
        return Result(done("no damage found in the part that was checked" if limited else "no damage found"))
