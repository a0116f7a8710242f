"""The declaration of a job type: everything that Locutus needs to know about a kind of job, in one class in one file.

A type is pure: it says which command to run and reads what the command said. Running, storing and showing are done
elsewhere, the same for all types.
"""

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from jobs.access import Role
from jobs.borg.events import Event
from jobs.borg.outcome import Diagnosis as BorgDiagnosis
from jobs.borg.outcome import Outcome
from jobs.borg.statistics import ArchiveStatistics
from jobs.command_words import REPOSITORY, Positional
from jobs.view import Progress

LONGEST_DELAY_S = 7200.0
"""No further away than that is another try of a job, ever."""


class Parameters(BaseModel):
    """What a request may say beside kind and repository; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Words:
    """How a kind is spoken of: "Backup of photos", "Backing up"."""

    noun: str
    preposition: str
    running: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The HTTP paths of a kind beside the general ones under `/api/jobs`; `listing` has the repository in it."""

    start: str | None = None
    status: str | None = None
    logs: str | None = None
    listing: str | None = None


@dataclass(frozen=True, slots=True)
class KnownArchive:
    """An archive that a request names, with what was counted when it was made: bytes, and None where nobody did."""

    name: str
    nfiles: int | None = None
    original_size: int | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """The directory of a host that a restore writes into."""

    path: str
    overwrite: bool = False
    dry_run: bool = False

    def root_among(self, roots: Iterable[str]) -> str | None:
        """The first of these directories that it is, or is below; by their names, links not followed."""
        return next((root for root in roots if is_within(self.path, root)), None)


def is_within(path: str, root: str) -> bool:
    """Whether one absolute path is the other or below it, as they are written."""
    top = posixpath.normpath(root).rstrip("/")
    return path == top or path.startswith(f"{top}/")


@dataclass(frozen=True, slots=True)
class Target:
    """The repository that a run works on, as its command needs to know it; of a host's own job, the host by name."""

    name: str
    location: str
    source_directories: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()
    compression: str = "lz4"
    encryption: str = "none"
    archive_glob: str = "*"
    """The pattern of the archives that its own template makes."""
    schedule: str = ""
    """The name of the schedule that asked; empty: none did."""
    host: str = ""
    archive: KnownArchive | None = None
    """The one that is asked for, where the type reads one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job: what its command is built from. Nothing in it is secret."""

    job_id: int
    target: Target
    parameters: Mapping[str, Any]
    archive_name: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What administrators have set that a type goes by when it checks a request."""

    restore_roots: tuple[str, ...] = ()
    """Directories below which `operate` may restore."""
    package_allowlist: tuple[str, ...] = ()
    """The packages that may be installed; empty: any."""
    package_installs_per_hour: int = 0
    """On one host; 0: no limit."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A job that is to follow another's success, in the same repository and thread."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A Debian package on a host, as dpkg tells of it."""

    name: str
    version: str
    status: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a run that succeeded left behind: final figures, an archive, new values of the repository's columns, a
    package on the host.
    """

    progress: Progress = field(default_factory=Progress)
    archive: ArchiveStatistics | None = None
    repository: Mapping[str, Any] = field(default_factory=dict)
    package: InstalledPackage | None = None
    removed: frozenset[str] = frozenset()
    """The borg ids of the archives that are gone since."""
    done: bool = True
    """False for a rehearsal, which does not count as having been done (`JobType.done_at`)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which delays, a run is tried again whose failure may pass by itself.

    The first delay is `first_s` seconds, each further one `factor` times as long and at most `longest_s`; `jitter` is
    the share by which a delay is shorter or longer, so that what failed together does not come back together.
    """

    retries: int = 3
    first_s: float = 30.0
    factor: float = 4.0
    longest_s: float = 3600.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.longest_s * (1 + self.jitter) > LONGEST_DELAY_S:
            raise ValueError(f"A wait of more than {LONGEST_DELAY_S} s is taken for a clock that was set back.")

    def delay_s(self, retries_so_far: int, random: float) -> float:
        """Seconds until the next try; `random` is drawn from [0, 1)."""
        delay_s = min(self.first_s * self.factor**retries_so_far, self.longest_s)
        return delay_s * (1 + self.jitter * (2 * random - 1))


class Diagnosis(Protocol):
    """Takes in a command's log while it is read, and says at the end what it meant."""

    @property
    def warned(self) -> bool: ...

    def feed(self, event: Event) -> None: ...

    def outcome(self, exit_status: int, *, repository: str, location: str) -> Outcome: ...

    def unstarted(self, number: int, program: str) -> Outcome: ...


class JobType(ABC):
    """Derive once per kind; the instance in `jobs.types.JOB_TYPES` gives command, route, right, card and tests."""

    kind: ClassVar[str]
    words: ClassVar[Words]
    parameters: ClassVar[type[Parameters]] = Parameters
    role: ClassVar[Role] = Role.OPERATE
    routes: ClassVar[Routes] = Routes()
    command_word: ClassVar[str | None] = None
    """The sub-command of `/backup` that starts it; None: not started from chat."""
    positionals: ClassVar[tuple[Positional, ...]] = (REPOSITORY,)
    """The words behind it; every other field of the parameters becomes a flag (`keep_daily`: `--keep-daily 7`)."""
    needs_repository: ClassVar[bool] = True
    """Whether it works on a repository; else on its host."""
    program: ClassVar[str] = "borg"
    """What it runs, by the name under which the worker finds it (`worker/programs.py`)."""
    timeout_s: ClassVar[float] = 7 * 86_400.0
    interrupt_first: ClassVar[bool] = False
    """Whether a cancel begins with SIGINT, which `borg create` answers with a checkpoint."""
    terminate_patience_s: ClassVar[float] = 10.0
    """How long it may go on after SIGTERM, before it is killed."""
    too_late: ClassVar[str] = "it has come too far"
    """Why a run that is not `cancellable` any more goes on."""
    makes_archive: ClassVar[bool] = False
    removes_archives: ClassVar[bool] = False
    """Whether it removes archives: then `scope` says which, and it is refused where others' would go too."""
    lists_archives: ClassVar[bool] = False
    """Whether its output is the list of all archives (`jobs.borg.archive_list`); `read_result` gets none of it."""
    reads_archive: ClassVar[bool] = False
    """Whether it works on one archive, which its parameter `archive_id` names; the run has its name."""
    breaks_lock: ClassVar[bool] = False
    """Whether it breaks the repository's lock: the worker first makes sure that nobody holds it any more."""
    done_at: ClassVar[str | None] = None
    """The repository's column that keeps when this was last done; a success sets it to the time of its end."""
    followed_by: ClassVar[frozenset[str]] = frozenset()
    """The kinds that may follow its success in a chain."""
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    """For failures that may pass by themselves (`jobs.borg.outcome.TRANSIENT`); all others need somebody."""

    @abstractmethod
    def arguments(self, run: Run) -> tuple[str, ...]:
        """The arguments after the program; text from outside stands behind `--`."""

    @abstractmethod
    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """The progress after a progress event of the command; of many in a row only the newest is read."""

    @abstractmethod
    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """The result from standard output and the progress that was seen last; raises `ValueError` when the output is
        not what it should be.
        """

    def read_line(self, event: Event, progress: Progress) -> Progress:
        """The progress after a line of the log; each is read, once."""
        del event
        return progress

    def diagnosis(self) -> Diagnosis:
        """What judges a run by its log and exit status."""
        return BorgDiagnosis()

    def working_directory(self, run: Run) -> str:
        """Where the command runs; it must exist by then."""
        del run
        return "/"

    def destination(self, parameters: Mapping[str, Any]) -> Destination | None:
        """The directory that it writes into, which the worker looks at and makes before; None: it restores nothing."""
        del parameters
        return None

    def inventory(self, run: Run) -> tuple[str, ...]:
        """Of a restore: the arguments that list what it will write (`jobs.borg.inventory`)."""
        raise NotImplementedError(f"{self.kind} restores nothing.")

    def left_behind(self, run: Run, seen: Progress) -> str | None:
        """What a run leaves that was cancelled or has failed, in a sentence; None: nothing that need be said."""
        del run, seen
        return None

    def subject(self, parameters: Mapping[str, Any]) -> str | None:
        """What it is about beside its repository or host, such as a package's name."""
        del parameters
        return None

    def hourly_limit(self, policy: Policy) -> int:
        """How many may be asked for on one host within an hour; 0: any number."""
        del policy
        return 0

    def role_for(self, parameters: Mapping[str, Any], policy: Policy) -> Role:
        """The right that a request with these parameters takes; never less than `role`."""
        del parameters, policy
        return self.role

    def check(self, parameters: Mapping[str, Any], target: Target, policy: Policy) -> None:
        """Refuse what can be seen to be wrong before anything runs; raises `InvalidRequestError`."""
        del parameters, target, policy

    def scope(self, parameters: Mapping[str, Any], target: Target) -> str | None:
        """The pattern of the archives that it may remove; None: all, as was asked for. Raises `InvalidRequestError`."""
        del parameters
        return target.archive_glob

    def destroys(self, parameters: Mapping[str, Any]) -> bool:
        """Whether it destroys or overwrites something, so that people are asked once more."""
        del parameters
        return False

    def plan(self, parameters: Mapping[str, Any], target: Target) -> tuple[str, ...]:
        """What exactly it will do, on what: the sentences that somebody confirms."""
        del parameters
        return (f"{self.words.noun} {self.words.preposition} {target.name} at {target.location}.",)

    def follow_ups(self, parameters: Mapping[str, Any]) -> tuple[FollowUp, ...]:
        """The jobs that its parameters ask for after its success, in their order."""
        del parameters
        return ()

    def host_lane(self, host: str) -> str | None:
        """The lane of a job without a repository: one such job at a time; None: any number."""
        del host
        return None

    def cancellable(self, progress: Progress) -> bool:
        """Whether a run that is as far as `progress` says may still be cancelled.

        A type with a point of no return says here from which progress on it has passed it; borg has none.
        """
        del progress
        return True

    def result_of_archive(self, archive: ArchiveStatistics) -> Result:
        """The result of a run that was not seen to end but whose archive stands in the repository."""
        raise NotImplementedError(f"{self.kind} makes no archive.")
