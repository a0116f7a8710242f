"""`list_archives`: borg list, so that the archives that Locutus knows of are those that the repository has.

https://borgbackup.readthedocs.io/en/stable/usage/list.html
"""

from jobs.borg.archive_list import OPTIONS
from jobs.borg.events import Event
from jobs.borg.options import LOCK_WAIT_S
from jobs.job_type import JobType, Result, Run, Words
from jobs.view import Progress


class ListArchives(JobType):
    """Reads the list anew; its output may be long and goes to the table record by record."""

    kind = "list_archives"
    words = Words(noun="Listing of archives", preposition="in", running="Listing the archives in")
    timeout_s = 3600.0
    lists_archives = True

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg list` of the repository, in a format of our own."""
        return ("list", "--log-json", "--lock-wait", str(LOCK_WAIT_S), *OPTIONS, "--", run.target.location)

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """It reports no progress."""
        del event
        return progress

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """That it is done; how many archives there are is counted where they are read."""
        del run, stdout, seen
        return Result(Progress(progress_percent=100.0))
