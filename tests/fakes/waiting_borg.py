"""The real borg, but for `borg create`, which waits until a test lets it begin: what happens meanwhile is exact."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

_PROGRAM = """#!/bin/sh
case " $* " in
*" create "*)
    echo "$*" >>{calls}
    read -r ticket <{gate}
    ;;
esac
exec borg "$@"
"""
_MORE_THAN_WAIT = 100


class WaitingBorg:
    """`with WaitingBorg(directory) as borg:` `borg.program` is for LOCUTUS_BORG; its creates wait for `let_go`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.program = directory / "borg"
        self._gate, self._calls = directory / "gate", directory / "calls"
        self._source = _PROGRAM.format(calls=self._calls, gate=self._gate)

    def __enter__(self) -> Self:
        os.mkfifo(self._gate)
        self._tickets = os.open(self._gate, os.O_RDWR)  # held open, so that neither end ever waits for the other
        self._calls.touch()
        self.program.write_text(self._source)
        self.program.chmod(0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.let_go(_MORE_THAN_WAIT)
        os.close(self._tickets)

    def let_go(self, count: int = 1) -> None:
        """Let that many creates begin, those that wait first."""
        os.write(self._tickets, b"\n" * count)

    def begun(self, archive: str = "") -> int:
        """How often a create of this archive, or of any, was called: let go or not."""
        return sum(archive in line for line in self._calls.read_text().splitlines())
