"""The programs that job types run, by the names under which these ask for them."""

import os
import sys
from pathlib import Path

from jobs.settings import INSTALL_PACKAGE, Settings

BORG = "borg"
INSTALL = "install-package"
AS_ROOT = Path(__file__).with_name("as_root.py")
OWN_COPY = Path(__file__).parents[1] / "deploy" / "install-package"


def command_of(program: str, settings: Settings) -> tuple[str, ...]:
    """How the program called `program` is started on this host; its arguments follow."""
    if program == BORG:
        return (settings.borg,)
    if program == INSTALL:
        return _install(settings.install_package)
    raise ValueError(f"There is no program called {program!r}.")


def _install(path: Path) -> tuple[str, ...]:
    """Root runs it as it is, from the source tree where it was not installed; others by sudo, which asks nothing."""
    if os.geteuid() == 0:
        own = path == INSTALL_PACKAGE and not path.exists() and OWN_COPY.exists()
        return (str(OWN_COPY if own else path),)
    return (sys.executable, "-I", "-S", str(AS_ROOT), "sudo", "-n", "--", str(path))
