"""What the conformance tests need of every job type: parameters that it takes, a program that waits to be let go."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.job_type import JobType

ARCHIVE = "example"
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "prune": {"keep_last": 1},
    "package_install": {"package": "r-base"},
    "restore": {"archive_id": ARCHIVE, "destination": "DIRECTORY/restored", "overwrite": True},
}
"""Parameters of each kind that can't do without."""
INSTALLED = '{"package": "r-base", "version": "1.0", "status": "installed"}'
_BORG = """#!/bin/sh
grep -q supervisor /proc/$PPID/cmdline || exec borg "$@"
printf '%s\\n' "$*" >>{calls}
read -r ticket <{gate}
exec borg "$@"
"""
_INSTALL = """#!/bin/sh
printf '%s\\n' "$*" >>{calls}
read -r ticket <{gate}
[ -e {broken} ] && exit 1
echo '{installed}'
"""


def example(kind: JobType, directory: str = "/srv") -> dict[str, Any]:
    """Parameters with which a job of this kind can be started; what it writes goes below `directory`."""
    said = EXAMPLES.get(kind.kind, {})
    return {
        name: value.replace("DIRECTORY", directory) if isinstance(value, str) else value for name, value in said.items()
    }


class HeldPrograms:
    """The programs that jobs run, which write their arguments down and wait; what the worker asks by itself does not.

    Close it when all is over, so that nothing waits on.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.borg, self.install = directory / "borg", directory / "install-package"
        self._gate, self._calls, self._broken = directory / "gate", directory / "calls", directory / "broken"
        os.mkfifo(self._gate)
        self._tickets = os.open(self._gate, os.O_RDWR)  # held open, so that neither end ever waits for the other
        self._calls.touch()
        names = {"calls": self._calls, "gate": self._gate, "broken": self._broken, "installed": INSTALLED}
        for program, source in ((self.borg, _BORG), (self.install, _INSTALL)):
            program.write_text(source.format(**names))
            program.chmod(0o700)

    def calls(self) -> list[str]:
        """The arguments of each call, in the order of the calls."""
        return self._calls.read_text().splitlines()

    def let_go(self, count: int) -> None:
        """Let that many calls go on."""
        os.write(self._tickets, b"\n" * count)

    def break_install(self) -> None:
        """Have every installation fail from now on."""
        self._broken.touch()

    def close(self) -> None:
        """Let all go that wait."""
        self.let_go(100)
        os.close(self._tickets)
