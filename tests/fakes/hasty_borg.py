"""The real borg, in whose check a second passes with each segment, so that a time limit ends it after so many."""

import sys
import time
from itertools import count
from types import SimpleNamespace

import borg  # type: ignore[import-not-found]

if sys.argv[1:] == ["--version"]:
    sys.stdout.write(f"borg {borg.__version__}\n")
    sys.exit()

import borg.repository  # type: ignore[import-not-found]
from borg.archiver import main  # type: ignore[import-not-found]

if "check" in sys.argv:
    seconds = count()
    borg.repository.time = SimpleNamespace(**{**vars(time), "monotonic": lambda: next(seconds)})
sys.exit(main())
