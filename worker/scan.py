"""Counting the sources beside borg, when no earlier archive tells how much there is."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

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
        with suppress(OSError):
            status = Path(source).lstat()
            if S_ISDIR(status.st_mode):
                directories.append(source)
            else:
                yield status.st_size
    while directories:
        with suppress(OSError), os.scandir(directories.pop()) as entries:
            for entry in entries:
                yield from _size(entry, directories)


def _size(entry: os.DirEntry[str], directories: list[str]) -> Iterator[int]:
    """A file's size; a directory is to be visited, and what has gone meanwhile costs only itself."""
    with suppress(OSError):
        if entry.is_dir(follow_symlinks=False):
            directories.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry.stat(follow_symlinks=False).st_size
