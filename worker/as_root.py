"""Run a command that becomes another user, whom nobody here may signal: as_root.py ARGV …

The command is held by a pipe at its stdin: at SIGTERM or SIGINT, or when this process dies, it is closed, which tells
`install-package` to end while it still can. The exit status is the command's own. Only the standard library.
"""

import os
import signal
import subprocess
import sys
from typing import Any


def main() -> int:
    """Hold the command until it ends by itself."""
    leash, leash_end = os.pipe()
    let_go = _Once(leash_end)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, let_go)
    with subprocess.Popen(sys.argv[1:], stdin=leash) as command:
        os.close(leash)
        code = command.wait()
    return code if code >= 0 else 128 - code


class _Once:
    """A signal handler that closes a descriptor the first time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def __call__(self, *_: Any) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


if __name__ == "__main__":
    sys.exit(main())
