"""`restore`: borg extract, of an archive or of paths in it, into a directory of the host.

https://borgbackup.readthedocs.io/en/stable/usage/extract.html and …/usage/help.html (patterns)
"""

import posixpath
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from jobs.access import Role
from jobs.borg.events import Event, LogMessage, PercentProgress
from jobs.borg.inventory import FORMAT
from jobs.borg.options import LOCK_WAIT_S, REPORTING
from jobs.command_words import REPOSITORY, Positional, WordType
from jobs.errors import InvalidRequestError
from jobs.job_type import Destination, JobType, Parameters, Policy, Result, RetryPolicy, Routes, Run, Target, Words
from jobs.repository_fields import PATH_LENGTH, AbsolutePath
from jobs.view import Progress

MOST_PATHS = 1000
MOST_BYTES_OF_PATHS = 500_000
"""Together: they become arguments of one command, of which Linux takes 2 MiB with the environment."""


def _normal(path: str) -> str:
    return f"/{posixpath.normpath(path).lstrip('/')}"


def _few_enough(paths: list[str]) -> list[str]:
    if sum(len(path.encode()) for path in paths) > MOST_BYTES_OF_PATHS:
        raise ValueError(f"give at most {MOST_BYTES_OF_PATHS:,} bytes of paths; name the directories that hold them")
    return paths


Path = Annotated[str, StringConstraints(min_length=1, max_length=PATH_LENGTH)]


class RestoreParameters(Parameters):
    """What is restored, and to where."""

    archive_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """The archive's name, or borg's id of it."""
    destination: Annotated[AbsolutePath, AfterValidator(_normal)]
    """A directory of the repository's host; it is made where it lacks."""
    paths: Annotated[list[Path], Field(max_length=MOST_PATHS), AfterValidator(_few_enough)] = Field(
        default_factory=list
    )
    """Files and directories as the archive names them; none: the whole archive."""
    overwrite: bool = False
    """Whether the destination may hold something already; what has the name of a restored file is replaced."""
    dry_run: bool = False
    """Read everything and write nothing."""


class Restore(JobType):
    """Counts files, as the list of what it writes tells which of them are some; time left is by bytes."""

    kind = "restore"
    words = Words(noun="Restore", preposition="from", running="Restoring from")
    parameters = RestoreParameters
    routes = Routes(start="/api/archives/{archive_id}/restore", status="/api/restore/jobs/{id}")
    command_word = "restore"
    positionals = (
        REPOSITORY,
        Positional("archive_id", WordType.ARCHIVE, "ARCHIVE", help="the archive's name or id"),
        Positional("paths", WordType.TEXT, "PATH", required=False, many=True, help="what of it; else all"),
        Positional("destination", WordType.TEXT, "DESTINATION", after="to", help="a directory of the host"),
    )
    reads_archive = True
    # What an attempt has written stands there, and only somebody who looks can tell it from what stood there before.
    retry = RetryPolicy(retries=0)

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg extract` with a list of what it writes."""
        rehearsal = ("--dry-run",) if run.parameters.get("dry_run") else ()
        return ("extract", *REPORTING, "--list", *rehearsal, "--", *_what(run))

    def inventory(self, run: Run) -> tuple[str, ...]:
        """`borg list` of the same, in the same order."""
        return ("list", "--log-json", "--lock-wait", str(LOCK_WAIT_S), "--format", FORMAT, "--", *_what(run))

    def working_directory(self, run: Run) -> str:
        """The destination: borg extracts into where it stands."""
        return "/" if run.parameters.get("dry_run") else str(run.parameters.get("destination", "/"))

    def destination(self, parameters: Mapping[str, Any]) -> Destination:
        """Where it writes."""
        return Destination(parameters["destination"], bool(parameters["overwrite"]), bool(parameters["dry_run"]))

    def role_for(self, parameters: Mapping[str, Any], policy: Policy) -> Role:
        """Below a restore root `operate` is enough."""
        destination = Destination(parameters["destination"])
        return Role.OPERATE if destination.root_among(policy.restore_roots) else Role.ADMINISTER

    def check(self, parameters: Mapping[str, Any], target: Target, policy: Policy) -> None:
        """Refuse to write into the repository itself; the host looks again, where links lead."""
        del policy
        if Destination(parameters["destination"]).root_among((target.location,)):
            raise InvalidRequestError("destination", f"{parameters['destination']} is inside the repository itself.")

    def destroys(self, parameters: Mapping[str, Any]) -> bool:
        """Only where it may overwrite."""
        return bool(parameters["overwrite"]) and not parameters["dry_run"]

    def plan(self, parameters: Mapping[str, Any], target: Target) -> tuple[str, ...]:
        """What is written, how much of it, where, and whose it is then."""
        paths, archive = parameters["paths"], target.archive
        name = archive.name if archive else parameters["archive_id"]
        what = f"{len(paths)} {'path' if len(paths) == 1 else 'paths'} of" if paths else "all of"
        figures = _figures(archive.nfiles, archive.original_size) if archive else ""
        where = f"to {parameters['destination']} on {target.host}"
        sentences = [
            f"Restore {what} the archive {name} in {target.name}{figures} {where}.",
            "Each file gets the owner that it had if the worker runs as root, else it belongs to the worker's user.",
        ]
        if parameters["overwrite"]:
            sentences.insert(1, "What stands there under the name of a restored file is replaced.")
        return tuple(sentences)

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """Bytes so far; borg adds up the total first, and tells of none until then."""
        if not isinstance(event, PercentProgress) or event.msgid != "extract" or not event.total:
            return progress
        return progress.model_copy(update={"original_size": event.current})

    def read_line(self, event: Event, progress: Progress) -> Progress:
        """What borg begins to write: a file, a directory, a link."""
        if not isinstance(event, LogMessage) or event.name != "borg.output.list":
            return progress
        return progress.model_copy(update={"items": progress.items + 1, "current_file": event.message})

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """All that there was to restore, as borg ended well."""
        del stdout
        nfiles = seen.nfiles if seen.total_files is None else seen.total_files
        size = seen.original_size if seen.total_size is None else seen.total_size
        said = "a dry run: nothing was written" if run.parameters.get("dry_run") else None
        kept = {"nfiles": nfiles, "original_size": size, "progress_message": said, "progress_percent": 100.0}
        totals = {name: getattr(seen, name) for name in ("total_files", "total_size", "total_from")}
        return Result(Progress(**kept, **totals))

    def left_behind(self, run: Run, seen: Progress) -> str | None:
        """How many files were restored before it was over: they are not taken back."""
        if run.parameters.get("dry_run") or not seen.items:
            return None
        of = f" of {seen.total_files:,}" if seen.total_files is not None else ""
        count = f"{seen.nfiles or 0:,}{of} {'file' if seen.total_files == 1 else 'files'}"
        return f"{count} had been restored to {run.parameters['destination']} by then; what is there stays there."


def _what(run: Run) -> tuple[str, ...]:
    """Archive and paths. `pp:` has borg take a path for nothing but a path, whatever signs are in it."""
    paths = (f"pp:{path.lstrip('/')}" for path in run.parameters.get("paths", ()))
    return (f"{run.target.location}::{run.archive_name}", *paths)


def _figures(nfiles: int | None, size: int | None) -> str:
    if nfiles is None or size is None:
        return ""
    return f" ({nfiles:,} {'file' if nfiles == 1 else 'files'}, {size:,} bytes in all)"
