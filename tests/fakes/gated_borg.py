"""The real borg, counting its calls, and holding at one source file for as long as a test wants.

It is copied as `borg` into a directory of its own, with the interpreter of the real borg: each call adds a line to
`calls` there, and a source file named `gated` is not read while somebody holds `gate` locked, unless borg is
told to end.
"""

import fcntl
import sys
import time
from pathlib import Path

import borg  # type: ignore[import-not-found]

if sys.argv[1:] == ["--version"]:  # each worker asks for it, and the rest takes long to import
    sys.stdout.write(f"borg {borg.__version__}\n")
    sys.exit()

from borg.archive import FilesystemObjectProcessors
from borg.archiver import main
from borg.helpers import sig_int

HERE = Path(__file__).parent
process_file = FilesystemObjectProcessors.process_file


def is_open(gate):
    try:
        fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def process_file_behind_the_gate(self, *, path, **rest):
    if path.endswith("/gated"):
        self.stats.show_progress()
        with (HERE / "gate").open("rb") as gate:
            while not sig_int and not is_open(gate):
                time.sleep(0.01)
    return process_file(self, path=path, **rest)


FilesystemObjectProcessors.process_file = process_file_behind_the_gate
with (HERE / "calls").open("a") as calls:
    calls.write(f"{' '.join(sys.argv[1:])}\n")
sys.exit(main())
