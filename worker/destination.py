"""The directory that a restore writes into: looked at on its host, where links lead and space runs out; and made.

The rule of what may be overwritten is the simplest there is: without `overwrite` the directory is empty, or does not
exist. All here blocks on the disk.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bot import wording
from jobs.job_type import Destination, is_within

REFUSED, FULL = "destination_refused", "destination_full"


class UnusableDestinationError(Exception):
    """Nothing may be, or can be, restored there: an error code, and a sentence that says what to do."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def require_allowed(destination: Destination, forbidden: Iterable[str], roots: Sequence[str]) -> None:
    """Raise UnusableDestinationError unless a restore may write there, with links followed.

    `forbidden` are the repository and the data directory. Who may restore below one of `roots` must not get beyond it.
    """
    path, real = destination.path, os.path.realpath(destination.path)
    for place in forbidden:
        if is_within(real, os.path.realpath(place)):
            raise _refused(f"{path} is inside {place}, which a restore would damage. Choose another destination.")
    if os.path.lexists(real) and not Path(real).is_dir():
        raise _refused(f"{path} is not a directory. Choose another destination.")
    if root := destination.root_among(roots):
        _require_below(destination, real, root)
    if not destination.overwrite and _holds_something(path):
        raise _refused(
            f"{path} is not empty, and without `overwrite` nothing is restored over what is there. "
            "Choose another destination, or ask again with `overwrite`."
        )


def make(destination: Destination, size: int) -> None:
    """Make the directory for files of `size` bytes; raises UnusableDestinationError where that can't be.

    With `overwrite` the space is not looked at: what is replaced gives back its own.
    """
    place = next(place for place in (Path(destination.path), *Path(destination.path).parents) if place.exists())
    free = shutil.disk_usage(place).free
    if size > free and not destination.overwrite:
        raise UnusableDestinationError(
            FULL,
            f"The files to restore take {wording.size(size)}, and the disk of {destination.path} has "
            f"{wording.size(free)} free. Free space or choose another destination.",
        )
    if destination.dry_run:
        return
    try:
        Path(destination.path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(
            f"{destination.path} can't be made ({error.strerror}). Make it for the worker's user, or choose another."
        ) from error


def _require_below(destination: Destination, real: str, root: str) -> None:
    real_root = os.path.realpath(root)
    beyond = None if is_within(real, real_root) else destination.path
    if destination.overwrite and beyond is None:
        beyond = _link_beyond(real, real_root)
    if beyond is not None:
        raise _refused(
            f"{beyond} leads out of the restore root {root} by a symbolic link, so files would be written elsewhere. "
            "Choose a destination without such a link."
        )


def _link_beyond(directory: str, root: str) -> str | None:
    """A symbolic link below the directory by which files would get out of the root."""
    for parent, names, _ in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            if path.is_symlink() and not is_within(os.path.realpath(path), root):
                return os.fsencode(path).decode(errors="replace")
    return None


def _holds_something(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entries)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refused(f"{path} can't be read ({error.strerror}). Give the worker's user the right to it.") from error


def _refused(sentence: str) -> UnusableDestinationError:
    return UnusableDestinationError(REFUSED, sentence)
