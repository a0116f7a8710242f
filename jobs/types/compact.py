"""`compact`: borg compact, giving the space of what was removed from a repository back to its disk.

https://borgbackup.readthedocs.io/en/stable/usage/compact.html
"""

import re
from collections.abc import Mapping
from typing import Any

from jobs.access import Role
from jobs.borg.events import Event, LogMessage
from jobs.borg.options import REPORTING
from jobs.borg.sizes import SIZE, bytes_of
from jobs.borg.stages import done, staged
from jobs.job_type import JobType, Result, Routes, Run, Target, Words
from jobs.view import Progress

_FREED = re.compile(rf"compaction freed about ({SIZE}) repository space")


class Compact(JobType):
    """Goes through the segments once; what it freed stands in the log."""

    kind = "compact"
    words = Words(noun="Compaction", preposition="of", running="Compacting")
    role = Role.ADMINISTER
    routes = Routes(
        start="/api/repositories/{repo}/compact",
        status="/api/repositories/compact-jobs/{id}",
        listing="/api/repositories/{repo}/compact-jobs",
    )
    command_word = "compact"
    done_at = "last_compact"
    followed_by = frozenset({"check"})

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg compact`; `--info` makes it say what it freed."""
        return ("compact", *REPORTING, "--info", "--", run.target.location)

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """How many of the segments are done."""
        return staged(event, progress)

    def read_line(self, event: Event, progress: Progress) -> Progress:
        """What it freed, as far as borg writes it out."""
        found = _FREED.search(event.message) if isinstance(event, LogMessage) else None
        return progress.model_copy(update={"freed_size": bytes_of(found[1])}) if found else progress

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """The space that it freed; None where borg did not say."""
        del run, stdout
        return Result(done().model_copy(update={"freed_size": seen.freed_size}))

    def destroys(self, parameters: Mapping[str, Any]) -> bool:
        """What was removed before can't be got back afterwards."""
        del parameters
        return True

    def plan(self, parameters: Mapping[str, Any], target: Target) -> tuple[str, ...]:
        """What becomes of the repository."""
        del parameters
        return (
            f"Compact {target.name} at {target.location}: the space of removed archives goes back to the disk.",
            "What was pruned or deleted before can't be recovered afterwards.",
        )
