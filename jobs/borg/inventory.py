"""What an archive has to restore: one line for each item that `borg extract --list` will name, in the same order.

Source: borg's manual, "borg list" and its format keys (usage/list), 1.2 and 1.4. A hard link to a file that stands
further up has the mode `h…` and no size of its own.
"""

from collections.abc import Iterable
from pathlib import Path

from jobs.estimate import ARCHIVE, Totals

FORMAT = "{mode} {size}{NL}"


def totals_of(lines: Iterable[bytes]) -> Totals:
    """Files, as borg counts them in an archive, and their bytes; raises ValueError at a line that is none."""
    files = size = 0
    for line in lines:
        if line.startswith(b"-"):
            files += 1
            size += int(line.rpartition(b" ")[2])
    return Totals(size, files, ARCHIVE)


class Inventory:
    """The lines in a file, read once from the first to the last; blocking."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.totals = totals_of(file)
        self._path = path
        self._offset = self._items = self._files = 0

    def files_among(self, items: int) -> int:
        """How many of the first `items` are files; `items` never gets less."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while self._items < items and (line := file.readline()):
                self._items += 1
                self._files += line.startswith(b"-")
            self._offset = file.tell()
        return self._files
