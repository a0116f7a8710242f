"""Where a run of `chaos` takes place: its directory, its repositories, and the program that stands for borg there."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SLOW, FAST = 300_000_000, 1_000_000
"""Bytes that borg reads anew in each run: a second or more, and next to nothing."""
REPOSITORIES = {"slow-1": SLOW, "slow-2": SLOW, "fast-1": FAST, "fast-2": FAST}
PROGRAM = """#!/bin/sh
# Notes each run that needs its repository for itself, and whether another has it; then becomes borg. The descriptor,
# and with it the lock, is borg's until the kernel has ended it. What is backed up is new each time.
here={directory}
case $1 in create|init|check|compact|prune|delete)
    for word; do case $word in "$here"/repositories/*) target=${{word#"$here"/repositories/}}; break;; esac; done
    name=${{target%%::*}}
    archive=${{target##*::}}
    exec 9>> "$here/lanes/$name"
    flock -w 0.5 -E 75 9
    if [ $? = 75 ]; then alone=shared; else alone=alone; fi
    run=$(tr '\\0' '\\n' < /proc/$PPID/cmdline | grep -m 1 "$here/data/runs/")
    echo "$(date +%s.%N) $$ $1 $name $archive $alone ${{run##*/}}" >> "$here/starts"
    touch "$here/sources/$name/read-anew"
    head -c 500000 /dev/urandom > "$here/sources/$name/new";;
esac
exec borg "$@"
"""


@dataclass(frozen=True, slots=True)
class Start:
    """A run of borg as it began: `run` is its run directory's name, empty where the supervisor was dead by then."""

    at: float
    pid: int
    command: str
    repository: str
    archive: str
    alone: bool
    run: str

    @property
    def job_id(self) -> int | None:
        return int(self.run.partition("-")[0]) if self.run else None


@dataclass(frozen=True, slots=True)
class RunProcess:
    """A supervisor (`lock`) or a borg (`borg.lock`), by the lock that it has open."""

    pid: int
    lock: str
    run: str

    @property
    def job_id(self) -> int:
        return int(self.run.partition("-")[0])

    def strike(self, runs: Path, number: int) -> bool:
        """Send a signal; False where the process is gone. A recycled pid is never hit."""
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(self.pid)
            try:
                if self in locks_of(self.pid, runs):
                    signal.pidfd_send_signal(pidfd, number)
                    return True
            finally:
                os.close(pidfd)
        return False


class Journal:
    """What happened when, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def note(self, event: str, **about: Any) -> None:
        self._file.write(json.dumps({"at": datetime.now(UTC).isoformat(), "event": event, **about}) + "\n")

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Place:
    """The directory, and what is where in it."""

    directory: Path

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def runs(self) -> Path:
        return self.data / "runs"

    @property
    def program(self) -> Path:
        return self.directory / "borg"

    def repository(self, name: str) -> Path:
        return self.directory / "repositories" / name

    def sources(self, name: str) -> Path:
        return self.directory / "sources" / name

    def prepare(self) -> None:
        """Make the program and what is to be backed up; the large file is all zeros and takes no room."""
        self.program.write_text(PROGRAM.format(directory=self.directory))
        self.program.chmod(0o755)
        for name in ("data", "repositories", "lanes"):
            (self.directory / name).mkdir(mode=0o700)
        for name, size in REPOSITORIES.items():
            self.sources(name).mkdir(parents=True)
            with (self.sources(name) / "read-anew").open("wb") as file:
                file.truncate(size)

    def starts(self) -> list[Start]:
        """Every run that the program noted, oldest first."""
        path = self.directory / "starts"
        return sorted(map(_start, path.read_text().splitlines() if path.exists() else ()), key=lambda start: start.at)

    def run_processes(self, others: set[int]) -> list[RunProcess]:
        """The supervisors and borgs of this data directory; `others` have its locks open for other ends."""
        pids = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
        return [found for pid in pids if pid not in others for found in locks_of(pid, self.runs)]

    async def archives(self, name: str) -> dict[str, float]:
        """The archives of a repository and when the runs that made them began (Unix seconds)."""
        return await asyncio.to_thread(self._archives, name)

    def _archives(self, name: str) -> dict[str, float]:
        unattended = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "TZ": "UTC", **unattended}
        argv = ("borg", "list", "--json", "--lock-wait", "120", "--", str(self.repository(name)))
        done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        return {archive["name"]: _unix_s(archive["start"]) for archive in json.loads(done.stdout)["archives"]}


def locks_of(pid: int, runs: Path) -> list[RunProcess]:
    """The locks of run directories that a process has open, at most one of each kind."""
    found = {}
    with contextlib.suppress(OSError):  # it has ended
        for path in _open_files(pid):
            if path.parent.parent == runs and path.name in {"lock", "borg.lock"}:
                found[path.name] = RunProcess(pid, path.name, path.parent.name)
    return list(found.values())


def _open_files(pid: int) -> Iterator[Path]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            yield descriptor.readlink()


def _start(line: str) -> Start:
    at, pid, command, repository, archive, alone, *run = line.split()
    return Start(float(at), int(pid), command, repository, archive, alone == "alone", "".join(run))


def _unix_s(naive: str) -> float:
    """Of a time as borg prints it: without a zone, UTC as it was told."""
    return datetime.fromisoformat(naive).replace(tzinfo=UTC).timestamp()
