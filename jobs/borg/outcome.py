"""How a run of borg ended: a verdict and a code for machines, one sentence with the next step for people.

Sources: borg's manual, "Return codes" (usage/general) and "Message IDs" (internals/frontends), 1.2 and 1.4.
"""

import errno
import os
import signal
from dataclasses import dataclass
from enum import StrEnum

from jobs.borg.events import Event, LogMessage, Text
from jobs.borg.log_text import brief, codes_of_error, codes_of_warning, harmless, shortened


class Verdict(StrEnum):
    """A warning is a completed job; a transient failure may pass by itself; an error needs somebody."""

    SUCCESS = "success"
    WARNING = "warning"
    TRANSIENT = "transient"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run. `code` and `sentence` are None after a plain success; `warnings` counts those of borg."""

    verdict: Verdict
    code: str | None
    sentence: str | None
    warnings: int


# Each code: what happened, what to do now. Of several codes the first in this order is told: precise before vague.
# fmt: off
SENTENCES = {
    "destination_full": ("The disk to restore to is full, so files are missing there.",
        "Free space or choose another destination, then run it again."),
    "cache_disk_full": ("The disk of borg's cache and temporary files is full.",
        "Free space there for the user that the worker runs as, then run it again."),
    "quota_exceeded": ("The storage quota of {repository} is used up.", "Prune and compact it, or raise the quota."),
    "disk_full": ("The disk of {repository} at {location} is full.",
        "Free space there, or prune and compact, then run it again."),
    "out_of_memory": ("The host had no memory left for it.", "Free memory there, then run it again."),
    "ssh_key_refused": ("The host of {location} refused the login.",
        "Put the line that `locutus repo key {repository}` prints into its authorized_keys."),
    "host_key_unknown": ("The host key of {location} is not the known one.",
        "Find out why with that host's owner; `locutus repo trust {repository}` trusts a new one."),
    "remote_borg_missing": ("The host of {location} has no borg.", "Install BorgBackup there."),
    "passphrase_wrong": (
        "The passphrase of {repository} is wrong.",
        "Set it with `locutus repo passphrase {repository}`.",
    ),
    "passphrase_missing": ("{repository} needs a passphrase.", "Set it with `locutus repo passphrase {repository}`."),
    "key_missing": ("The key of {repository} is missing or wrong.", "Import its exported key with `borg key import`."),
    "repository_missing": ("The repository {repository} is not at {location}.",
        "Check that the disk is mounted, or make it with `locutus repo add … --init`."),
    "repository_invalid": ("What is at {location} is no repository that borg can open.",
        "Check the location of {repository} and that the right disk is mounted."),
    "repository_exists": ("There is already something at {location}; nothing was changed.",
        "Add it without `--init` if it is the repository, or choose another location."),
    "archive_exists": ("{repository} has an archive of that name already.",
        "Look at it in the list of archives, or put the time into the name template."),
    "archive_missing": ("{repository} has no archive of that name.", "Choose one from the list of archives."),
    "repository_locked": ("{repository} is locked by another backup and stayed so for as long as we wait.",
        "Run it again when it is free; only if nobody uses it: `/backup unlock {repository}`."),
    "lock_lost": ("Somebody broke the lock of {repository} while borg worked.",
        "Find out who, then run a check before the next backup."),
    "unknown_repository": ("{location} is not encrypted although a passphrase is set, so nothing was sent.",
        "Check the location of {repository}, or remove the passphrase if it is right."),
    "repository_relocated": ("borg knew {repository} at another place than {location}.",
        "Find out whether it was moved on purpose; if so, `locutus repo accept {repository} relocated` says it."),
    "repository_unencrypted": ("{location} is not encrypted, and borg does not know it on this host.",
        "Find out whether that is right; if so, `locutus repo accept {repository} unencrypted` says it."),
    "repository_suspect": ("The repository at {location} is not as this host left it: {detail}.",
        "Find out whether it was replaced, or restored from a copy, before you use it."),
    "borg_outdated": ("This borg is too old for {location}, or the one there is.", "Install a newer BorgBackup."),
    "read_only": ("The disk of {location}, or that of borg's cache, is mounted read-only.",
        "Look for disk errors on the host, then mount it writable."),
    "io_error": ("A disk failed to read or write.", "Look for disk errors in the kernel log of the host."),
    "permission_denied": ("borg may not use {location}, or not its own cache.",
        "Give the user that the worker runs as the right to; the job's log names the file."),
    "archive_unsafe": ("Parts of the archive lead outside of the destination and were refused.",
        "Treat it as tampered with: find out who may write to {repository}."),
    "path_not_in_archive": ("Not all that was asked for is in the archive: {detail}.", "Look up the path there."),
    "integrity_error": ("The repository {repository} at {location} is damaged: {detail}.",
        "Look for disk errors; neither prune nor compact before it is repaired (`borg check --repair`)."),
    "connection_lost": ("The connection to {location} broke, or could not be made.",
        "Check the network and that borg runs on that host, then run it again."),
    "killed": ("borg was ended from outside ({detail}).", "Find out by whom on the host, then run it again."),
    "borg_crashed": ("borg crashed ({detail}).", "Check the host's memory and its installation of BorgBackup."),
    "borg_missing": ("There is no {detail} on the host.", "Install BorgBackup, or set LOCUTUS_BORG to its path."),
    "borg_not_executable": ("{detail} cannot be executed.", "Install it anew, or correct its mode or LOCUTUS_BORG."),
    "spawn_failed": ("The command could not be started: {detail}.", "Mend that on the host, then run it again."),
    "command_refused": ("borg refused the command: {detail}.", "Correct the name or the setting that it speaks of."),
    "borg_broken": ("borg does not start.", "Install BorgBackup anew; the job's log has its words."),
    "source_missing": ("Finished with {detail}.", "Check that the disk is mounted and the sources are right."),
    "files_skipped": ("Finished with {detail}.", "Give the worker's user the right to these files, or exclude them."),
    "file_changed": ("Finished with {detail}.", "Run it again when the files are at rest, or back up a snapshot."),
    "borg_warning": ("Finished with {detail}.", "Read the job's log."),
    "borg_failed": ("borg failed: {detail}.", "Read the job's log."),
}
TRANSIENT = frozenset({"repository_locked", "connection_lost"})
WARNINGS = ("source_missing", "files_skipped", "file_changed", "borg_warning")
# For borg only a warning (1, 101, 104, 108 to 110), yet what was asked for was not done: a restore lacks files, a check
# found damage. 102 and 104 to 106, which borgmatic counts as errors too, stay warnings: some files were skipped, the
# archive is there and good; a failure would make it again and hold back what follows.
FAILED_ALL_THE_SAME = (
    "destination_full", "disk_full", "archive_unsafe", "path_not_in_archive", "integrity_error", "borg_broken",
)
_UNSTARTED = {
    errno.ENOENT: "borg_missing", errno.EACCES: "borg_not_executable", errno.ENOEXEC: "borg_not_executable",
    errno.ENOMEM: "out_of_memory", errno.EAGAIN: "out_of_memory",
}
# Message ids, and the exit status that 1.4 gives each.
_NAMES = {
    "quota_exceeded": "Repository.StorageQuotaExceeded=20",
    "disk_full": "Repository.InsufficientFreeSpaceError=14",
    "passphrase_wrong": "PassphraseWrong=52 PasswordRetriesExceeded=53",
    "passphrase_missing": "NoPassphraseFailure=50",
    "key_missing": "KeyfileInvalidError=40 KeyfileMismatchError=41 KeyfileNotFoundError=42 RepoKeyNotFoundError=44",
    "repository_missing": "Repository.DoesNotExist=13",
    "repository_invalid": "Repository.InvalidRepository=15 Repository.InvalidRepositoryConfig=16",
    "repository_exists": "Repository.AlreadyExists=10 Repository.PathAlreadyExists=19",
    "archive_exists": "Archive.AlreadyExists=30",
    "archive_missing": "Archive.DoesNotExist=31",
    "repository_locked": "LockTimeout=73 LockError=70",
    "lock_lost": "NotLocked=74 NotMyLock=75",
    "unknown_repository": "Cache.CacheInitAbortedError=60",
    "repository_relocated": "Cache.RepositoryAccessAborted=62",
    "repository_suspect": "Cache.EncryptionMethodMismatch=61 Cache.RepositoryIDNotUnique=63 Cache.RepositoryReplay=64"
        " TAMRequiredError=98 ArchiveTAMRequiredError=96 TAMInvalid=97 ArchiveTAMInvalid=95",
    "borg_outdated": "MandatoryFeatureUnsupported=25 UnsupportedManifestError=27 UnsupportedPayloadError=48"
        " UnsupportedKeyFormatError=49 RemoteRepository.RPCServerOutdated=84 TAMUnsupportedSuiteError=99",
    "permission_denied": "Repository.PathPermissionDenied=21",
    "archive_unsafe": "BackupSymlinkParentError=108 BackupPathTraversalError=109 BackupHardlinkSourceError=110",
    "path_not_in_archive": "IncludePatternNeverMatchedWarning=101",
    "integrity_error": "IntegrityError=90 FileIntegrityError=91 DecompressionError=92 Repository.CheckNeeded=12"
        " Repository.ObjectNotFound=17 NoManifestError=26",
    "connection_lost": "ConnectionClosed=80 ConnectionClosedWithHint=81 UnexpectedRPCDataFormatFromServer=86"
        " ConnectionBrokenWithHint=87",
    "command_refused": "CommandError=4 PlaceholderError=5 InvalidPlaceholder=6",
    "source_missing": "BackupFileNotFoundError=107",
    "files_skipped": "BackupError=102 BackupOSError=104 BackupPermissionError=105 BackupIOError=106"
        " BackupTimeoutError=111 BackupBrokenSymlinkError=112",
    "file_changed": "FileChangedWarning=100 BackupRaceConditionError=103",
}
# fmt: on
_PAIRS = [(code, *pair.split("=")) for code, pairs in _NAMES.items() for pair in pairs.split()]
_BY_ID = {name: code for code, name, _ in _PAIRS}
_BY_STATUS = {int(status): code for code, _, status in _PAIRS}
_UNCOUNTED = frozenset({"borg.locking", "borg.logger", "borg.output.show-rc"})
# Python could not write its last output; a wrapper around borg could not start it.
_NOT_FROM_BORG = frozenset({120, 126, 127})
_CHECKERS = frozenset({"borg.repository", "borg.archive"})
_CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGSYS"})


class Diagnosis:
    """Takes in a log while it is read, and says at the end what it meant. Its memory does not grow with the log."""

    def __init__(self) -> None:
        self._codes: set[str] = set()
        self._logging = False
        self._warnings = 0
        self._first: dict[str, str] = {}
        self._first_error: str | None = None

    def feed(self, event: Event) -> None:
        """Take in one event; log messages count, and what is said before borg can log."""
        self._logging |= not isinstance(event, Text)
        match event:
            case LogMessage(name=name) if name in _UNCOUNTED:
                pass
            case LogMessage(level="WARNING"):
                self._warn(event)
            case LogMessage(level="ERROR" | "CRITICAL"):
                self._fail(event)
            case Text(text) if text.startswith("borg") and ": error: " in text:
                self._codes.add("command_refused")
                self._first_error = brief(text.partition(": error: ")[2])
            case Text(text) if text.startswith("Traceback") and not self._logging:
                # Python then exits with 1, which must not pass for a warning.
                self._codes.add("borg_broken")

    @property
    def warned(self) -> bool:
        """Whether borg has warned of something so far."""
        return bool(self._warnings)

    def outcome(self, exit_status: int, *, repository: str, location: str) -> Outcome:
        """Judge the end: `exit_status` is borg's, or minus the signal that killed it.

        Whether a run was cancelled or timed out is not told here: borg ends such a run like a failed one.
        """
        if exit_status == 0:
            return Outcome(Verdict.SUCCESS, None, None, 0)
        code, detail = self._judge(exit_status)
        warnings = max(self._warnings, code in WARNINGS)
        return Outcome(_verdict(code), code, _sentence(code, detail, repository, location), warnings)

    def unstarted(self, number: int, program: str) -> Outcome:
        """Judge a start that failed with errno `number`: nothing ran."""
        return spawn_failure(number, program)

    def _judge(self, status: int) -> tuple[str, str]:
        if status < 0 or status > 128:
            return _signalled(-status if status < 0 else status - 128)
        warned = status == 1 or (100 <= status < 128 and status not in _NOT_FROM_BORG)
        seen = self._codes | {_BY_STATUS.get(status, "borg_warning" if warned else "borg_failed")}
        eligible = (*FAILED_ALL_THE_SAME, *WARNINGS) if warned else SENTENCES.keys() - set(WARNINGS)
        code = next(code for code in SENTENCES if code in seen and code in eligible)
        if warned and code not in FAILED_ALL_THE_SAME:
            return code, self._counted(code)
        return code, self._first_error or self._first.get(code) or f"exit status {status} without a reason"

    def _warn(self, event: LogMessage) -> None:
        if event.message.startswith("Remote: "):
            self._codes |= codes_of_error(event.message)
            return
        self._warnings += 1
        codes = _named(event.msgid) | codes_of_warning(event.message)
        self._codes |= codes
        for code in codes or {"borg_warning"}:
            self._first.setdefault(code, shortened(event.message))

    def _fail(self, event: LogMessage) -> None:
        self._codes |= _named(event.msgid) | codes_of_error(event.message)
        if event.msgid is None and event.name in _CHECKERS:
            self._codes.add("integrity_error")
        if event.msgid != "Exception":
            self._first_error = self._first_error or brief(event.message)

    def _counted(self, code: str) -> str:
        count = "1 warning:" if self._warnings <= 1 else f"{self._warnings} warnings, among them"
        return f"{count} {self._first[code]}" if code in self._first else "warnings"


def what_happened(code: str, *, repository: str, location: str) -> str:
    """The first half of a transient failure's sentence: what to do is nothing, as it is tried again."""
    return harmless(SENTENCES[code][0].format(repository=repository, location=location))


def explain(code: str, *, repository: str, location: str) -> str:
    """The whole sentence of a code that needs no detail."""
    return _sentence(code, "", repository, location)


def spawn_failure(number: int, program: str) -> Outcome:
    """Judge a start that failed with errno `number`: nothing ran."""
    code = _UNSTARTED.get(number, "spawn_failed")
    detail = f"{program}: {os.strerror(number)}" if code == "spawn_failed" else program
    return Outcome(_verdict(code), code, _sentence(code, brief(detail), "", ""), 0)


def _verdict(code: str) -> Verdict:
    return Verdict.TRANSIENT if code in TRANSIENT else Verdict.WARNING if code in WARNINGS else Verdict.ERROR


def _signalled(number: int) -> tuple[str, str]:
    name = {known.value: known.name for known in signal.Signals}.get(number)
    if name is None:
        return "borg_failed", f"it ended with exit status {128 + number}"
    if name in _CRASHES:
        return "borg_crashed", name
    return "killed", f"{name}, most often for lack of memory" if name == "SIGKILL" else name


def _named(msgid: str | None) -> set[str]:
    """Return the code of a message id; of a remote borg's error 1.2 has only the last part."""
    return {_BY_ID[name] for name in (msgid, f"Repository.{msgid}") if name in _BY_ID}


def _sentence(code: str, detail: str, repository: str, location: str) -> str:
    return harmless(" ".join(SENTENCES[code]).format(detail=detail, repository=repository, location=location))
