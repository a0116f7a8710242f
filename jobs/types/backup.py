"""`backup`: borg create, of a repository's source directories into a new archive.

https://borgbackup.readthedocs.io/en/stable/usage/create.html and …/internals/frontends.html (progress and statistics).
"""

from jobs.borg.events import ArchiveProgress, Event
from jobs.borg.options import REPORTING
from jobs.borg.statistics import ArchiveStatistics, parse_create
from jobs.job_type import JobType, Result, Routes, Run, Words
from jobs.view import Progress


class Backup(JobType):
    """Makes one archive; its percentage needs a total from elsewhere, as borg has none."""

    kind = "backup"
    words = Words(noun="Backup", preposition="of", running="Backing up")
    routes = Routes(start="/api/backup/run", status="/api/backup/jobs/{id}", logs="/api/backup/logs/{id}")
    command_word = "run"
    interrupt_first = True
    makes_archive = True

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg create` with progress on stderr and its statistics as JSON on stdout."""
        excludes = (part for pattern in run.target.exclude_patterns for part in ("--exclude", pattern))
        return (
            "create", *REPORTING, "--json",
            "--compression", run.target.compression, *excludes,
            "--", f"{run.target.location}::{run.archive_name}", *run.target.source_directories,
        )  # fmt: skip

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
