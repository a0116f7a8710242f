"""Counting the sources beside borg, when no earlier archive tells how much there is."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.estimate import Totals

SCAN = "scan"


def scan(sources: Sequence[str], stop: threading.Event) -> Totals | None:
    """The files and bytes below `sources`, symbolic links not followed; None when `stop` was set before the end.

    Blocking: to be called in a thread. What can't be read is not counted, as borg will not read it either.
    """
    files = size = 0
    for entry_size in _sizes(sources):
        if stop.is_set():
            return None
        files += 1
        size += entry_size
    return Totals(size, files, SCAN)


def _sizes(sources: Sequence[str]) -> Iterator[int]:
    directories = []
    for source in sources:
        path = Path(source)
        if path.is_file():
            yield path.stat().st_size
        else:
            directories.append(source)
    while directories:
        try:
            with os.scandir(directories.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
