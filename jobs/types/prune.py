"""`prune`: borg prune, removing the archives that a retention does not keep, and no others than those it is meant for.

https://borgbackup.readthedocs.io/en/stable/usage/prune.html
"""

import re
from collections.abc import Mapping
from typing import Any

from jobs.access import Role
from jobs.borg.events import Event, LogMessage
from jobs.borg.options import REPORTING
from jobs.borg.sizes import SIZE, bytes_of
from jobs.borg.stages import done, staged
from jobs.job_type import JobType, Policy, Result, Routes, Run, Target, Words
from jobs.repository_fields import Template, archive_glob_of
from jobs.retention import Retention, in_words, keep_options, require_some
from jobs.view import Progress, RemovedArchive

NAMED = 100
"""So many of the archives that went are named in the result; the log names all."""
_REMOVED = re.compile(
    r"(?:Pruning archive \(\d+/\d+\)|Would prune): +(?P<name>.+?) +"
    r"\w{3}, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[(?P<id>[0-9a-f]{64})\]"
)
_STATISTICS = re.compile(rf"(Deleted data|All archives): +{SIZE} +{SIZE} +({SIZE})")
_FIGURES = {"Deleted data": "freed_size", "All archives": "repository_size"}


class PruneParameters(Retention):
    """What is kept, and of which archives."""

    archive_name_template: Template | None = None
    """Only the archives that this template names; without it those of the repository's own template."""
    all: bool = False
    """All archives in the repository, whoever made them."""
    dry_run: bool = False
    """Only say what would be removed."""


class Prune(JobType):
    """Lists what it keeps and removes; the space is free after the next compact."""

    kind = "prune"
    words = Words(noun="Prune", preposition="of", running="Pruning")
    parameters = PruneParameters
    role = Role.ADMINISTER
    routes = Routes(
        start="/api/repositories/{repo}/prune",
        status="/api/repositories/prune-jobs/{id}",
        listing="/api/repositories/{repo}/prune-jobs",
    )
    command_word = "prune"
    done_at = "last_prune"
    followed_by = frozenset({"compact", "check"})
    removes_archives = True

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg prune` with a list of what it does; a dry run has no statistics."""
        said = run.parameters
        glob = self.scope(said, run.target)
        return (
            "prune", *REPORTING, "--list", "--dry-run" if said.get("dry_run") else "--stats",
            *keep_options(said), *((f"--glob-archives={glob}",) if glob else ()),
            "--", run.target.location,
        )  # fmt: skip

    def check(self, parameters: Mapping[str, Any], target: Target, policy: Policy) -> None:
        """Refuse to keep nothing, and a template that borg would refuse."""
        del policy
        require_some(parameters)
        self.scope(parameters, target)

    def scope(self, parameters: Mapping[str, Any], target: Target) -> str | None:
        """The archives of the template given, else of the repository's own; None with `all`."""
        if parameters.get("all"):
            return None
        template = parameters.get("archive_name_template")
        return archive_glob_of(template, target.name, target.schedule) if template else target.archive_glob

    def destroys(self, parameters: Mapping[str, Any]) -> bool:
        """A dry run removes nothing."""
        return not parameters.get("dry_run")

    def plan(self, parameters: Mapping[str, Any], target: Target) -> tuple[str, ...]:
        """What is kept, of what."""
        glob = self.scope(parameters, target)
        which = f"the archives named {glob}" if glob else "all archives, whoever made them,"
        return (
            f"Prune {target.name} at {target.location}: of {which} keep {in_words(parameters)}.",
            "Every other one of them is removed. A dry run (`dry_run`) lists what would go.",
        )

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """How many of the archives to remove are done."""
        return staged(event, progress)

    def read_line(self, event: Event, progress: Progress) -> Progress:
        """Each archive that goes, and at the end what that made superfluous."""
        if not isinstance(event, LogMessage):
            return progress
        if event.name == "borg.output.list" and (found := _REMOVED.fullmatch(event.message)):
            gone = RemovedArchive(found["id"], found["name"])
            return progress.model_copy(update={"removed": (*progress.removed, gone)})
        if event.name == "borg.output.stats" and (found := _STATISTICS.search(event.message)):
            return progress.model_copy(update={_FIGURES[found[1]]: bytes_of(found[2])})
        return progress

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """What went, and what the repository holds since; of a dry run, what would go."""
        del stdout
        dry = bool(run.parameters.get("dry_run"))
        names = [archive.name for archive in seen.removed]
        progress = done(_said(names, dry=dry)).model_copy(
            update={"freed_size": seen.freed_size, "archives": tuple(names[:NAMED]), "narchives": len(names)}
        )
        if dry:
            return Result(progress, done=False)
        size = {} if seen.repository_size is None else {"size": seen.repository_size}
        return Result(progress, repository=size, removed=frozenset(archive.id for archive in seen.removed))


def _said(names: list[str], *, dry: bool) -> str:
    if not names:
        return "nothing would be removed" if dry else "nothing to remove"
    count = "1 archive" if len(names) == 1 else f"{len(names)} archives"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    listed = f"{', '.join(names[:NAMED])}{more}"
    return f"{count} would be removed: {listed}" if dry else f"removed {count}, whose space a compact frees: {listed}"
