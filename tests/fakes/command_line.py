"""The command line as a person has it, in this process, over a data directory on which nothing else runs."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from typer.testing import CliRunner

from cli.__main__ import app


@contextmanager
def command_line(directory: Path, template: Path) -> Iterator[Callable[..., str]]:
    """Runs one command to its end and returns what it printed; `template` is an empty, migrated database."""
    data_dir = directory / "data"
    data_dir.mkdir(mode=0o700)
    shutil.copy(template, data_dir / "locutus.db")
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "TZ": "UTC", "LOCUTUS_HOST": "nas"}

    def locutus(*arguments: str, status: int = 0) -> str:
        ended = CliRunner().invoke(app, arguments, env={**variables, "LOCUTUS_DATA_DIR": str(data_dir)})
        assert ended.exit_code == status, ended.output
        return ended.stdout if status == 0 else ended.stderr

    try:
        yield locutus
    finally:
        structlog.reset_defaults()
        logging.basicConfig(force=True)
