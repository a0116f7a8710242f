"""`backup`: borg create, of a repository's source directories into a new archive.

https://borgbackup.readthedocs.io/en/stable/usage/create.html and …/internals/frontends.html (progress and statistics).
"""

from collections.abc import Mapping
from typing import Any

from jobs.borg.events import ArchiveProgress, Event
from jobs.borg.options import REPORTING
from jobs.borg.statistics import ArchiveStatistics, parse_create
from jobs.job_type import FollowUp, JobType, Policy, Result, Routes, Run, Target, Words
from jobs.repository_fields import Compression, Patterns, Template, archive_glob_of
from jobs.retention import Retention
from jobs.view import Progress


class BackupParameters(Retention):
    """How this archive is made, other than the repository says; and what follows it."""

    compression: Compression | None = None
    """How the data is compressed; without it as the repository says."""
    exclude_patterns: Patterns | None = None
    """What is left out; given, it replaces the repository's patterns."""
    archive_name_template: Template | None = None
    """How the archive is called; without it by the repository's template."""
    prune_after: bool = False
    """Prune the archives of the same template afterwards, by the keep_* given here."""
    compact_after: bool = False
    """Compact the repository afterwards, once it has been pruned where that was asked for."""


class Backup(JobType):
    """Makes one archive; its percentage needs a total from elsewhere, as borg has none."""

    kind = "backup"
    words = Words(noun="Backup", preposition="of", running="Backing up")
    routes = Routes(start="/api/backup/run", status="/api/backup/jobs/{id}", logs="/api/backup/logs/{id}")
    parameters = BackupParameters
    command_word = "run"
    interrupt_first = True
    makes_archive = True
    followed_by = frozenset({"prune", "compact", "check"})

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg create` with progress on stderr and its statistics as JSON on stdout."""
        target, said = run.target, run.parameters
        patterns = said.get("exclude_patterns")
        excluded = target.exclude_patterns if patterns is None else patterns
        return (
            "create", *REPORTING, "--json",
            "--compression", said.get("compression") or target.compression,
            *(part for pattern in excluded for part in ("--exclude", pattern)),
            "--", f"{target.location}::{run.archive_name}", *target.source_directories,
        )  # fmt: skip

    def check(self, parameters: Mapping[str, Any], target: Target, policy: Policy) -> None:
        """Refuse a template that borg would refuse, or that can't tell its archives from others."""
        del policy
        if template := parameters.get("archive_name_template"):
            archive_glob_of(template, target.name, target.schedule)

    def follow_ups(self, parameters: Mapping[str, Any]) -> tuple[FollowUp, ...]:
        """The prune with its retention, then the compact."""
        wanted = {"prune": parameters.get("prune_after"), "compact": parameters.get("compact_after")}
        return tuple(FollowUp(kind) for kind, asked in wanted.items() if asked)

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """Files and sizes so far; the last event of a run carries no figures and changes nothing."""
        if not isinstance(event, ArchiveProgress) or event.finished:
            return progress
        return progress.model_copy(
            update={
                "nfiles": event.nfiles,
                "original_size": event.original_size,
                "compressed_size": event.compressed_size,
                "deduplicated_size": event.deduplicated_size,
                "current_file": event.path or progress.current_file,
            }
        )

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """The archive with borg's own figures."""
        del run, seen
        return self.result_of_archive(parse_create(stdout))

    def result_of_archive(self, archive: ArchiveStatistics) -> Result:
        """The final figures, when the repository was last backed up, and what it holds since."""
        progress = Progress(
            progress_percent=100.0,
            nfiles=archive.nfiles,
            original_size=archive.original_size,
            compressed_size=archive.compressed_size,
            deduplicated_size=archive.deduplicated_size,
            backup_speed=_speed(archive),
        )
        columns = {
            "last_backup": archive.started_at,
            "borg_id": archive.repository_id,
            "size": archive.cache_unique_csize,
        }
        return Result(progress, archive, {name: value for name, value in columns.items() if value is not None})


def _speed(archive: ArchiveStatistics) -> float | None:
    return round(archive.original_size / archive.duration_s / 1e6, 2) if archive.duration_s else None
