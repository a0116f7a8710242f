"""Counting the sources beside borg, when no earlier archive tells how much there is."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

from jobs.estimate import Totals

SCAN = "scan"
REMEMBERED_LINKS = 100_000


def scan(sources: Sequence[str], stop: threading.Event) -> Totals | None:
    """The files and bytes below `sources`, symbolic links not followed; None when `stop` was set before the end.

    Blocking: to be called in a thread. What can't be read is not counted, as borg will not read it either; of hard
    links only the first is, as for borg, as long as there are not too many to remember.
    """
    files = size = 0
    linked: set[tuple[int, int]] = set()
    for status in _files(sources, stop):
        if stop.is_set():
            return None
        if status.st_nlink > 1 and len(linked) < REMEMBERED_LINKS:
            if (inode := (status.st_dev, status.st_ino)) in linked:
                continue
            linked.add(inode)
        files += 1
        size += status.st_size
    return None if stop.is_set() else Totals(size, files, SCAN)


def _files(sources: Sequence[str], stop: threading.Event) -> Iterator[os.stat_result]:
    directories = []
    for source in sources:
        with suppress(OSError):
            status = Path(source).lstat()
            if S_ISDIR(status.st_mode):
                directories.append(source)
            else:
                yield status
    while directories and not stop.is_set():
        with suppress(OSError), os.scandir(directories.pop()) as entries:
            for entry in entries:
                yield from _file(entry, directories)


def _file(entry: os.DirEntry[str], directories: list[str]) -> Iterator[os.stat_result]:
    """A file's status; a directory is to be visited, and what has gone meanwhile costs only itself."""
    with suppress(OSError):
        if entry.is_dir(follow_symlinks=False):
            directories.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry.stat(follow_symlinks=False)
