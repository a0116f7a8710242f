"""`repository_init`: borg init, making an empty repository at its location."""

from jobs.access import Role
from jobs.borg.events import Event
from jobs.job_type import JobType, Result, RetryPolicy, Run, Words
from jobs.view import Progress


class RepositoryInit(JobType):
    """Makes the repository; asked for with `"init": true` when a repository is added."""

    kind = "repository_init"
    words = Words(noun="Creation", preposition="of", running="Creating")
    role = Role.ADMINISTER
    timeout_s = 600.0
    # A second try would find what the first left half made, and tell of that instead of what went wrong.
    retry = RetryPolicy(retries=0)

    def arguments(self, run: Run) -> tuple[str, ...]:
        """`borg init`, which also makes missing parent directories."""
        return (
            "init", "--log-json", "--encryption", run.target.encryption, "--make-parent-dirs",
            "--", run.target.location,
        )  # fmt: skip

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """It takes seconds and reports no progress."""
        del event
        return progress

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """What to do next, where there is a key."""
        del stdout, seen
        name = run.target.name
        export = None if run.target.encryption == "none" else f"Export its key now: `locutus repo key-export {name}`."
        return Result(Progress(progress_percent=100.0, progress_message=export))
