"""What the command line prints, and how a command ends: JSON as the API gave it, or lines and tables for people.

Results go to stdout, everything else to stderr. Text from outside is never taken for markup or terminal control.
"""

import asyncio
import functools
import json
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import structlog
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot import wording
from cli.api_client import ApiError
from cli.logging import configure_logging
from jobs.database.connection import DatabaseNotMigratedError
from jobs.settings import SettingsError

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
NOTHING = "–"

AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON.")]

P = ParamSpec("P")
T = TypeVar("T")

stdout = Console(markup=False, emoji=False, highlight=False)
stderr = Console(markup=False, emoji=False, highlight=False, stderr=True)


def command(work: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a command for typer of an async function."""

    @functools.wraps(work)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        run_async(work(*arguments, **options))

    return run


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end. What a person must mend is one line on stderr, and exit status 1, or 2 for a setting."""
    _log_errors_only()
    try:
        return asyncio.run(work)
    except ApiError as error:
        fail(error, FAILED)
    except (SettingsError, DatabaseNotMigratedError) as error:
        fail(error, MISUSED)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _log_errors_only() -> None:
    """A command says itself what matters: a lost wake-up, say, is told by what the gateway answers."""
    configure_logging()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def fail(reason: Exception | str, status: int = FAILED) -> NoReturn:
    """One line on stderr, and the end of the command."""
    note(f"locutus: {wording.one_line(str(reason))}")
    raise typer.Exit(status)


def note(text: str) -> None:
    """A line that is no result, on stderr."""
    typer.echo(safe(text), err=True)


def say(text: str) -> None:
    """Lines of a result, as they stand."""
    typer.echo(safe(text))


def say_json(value: Any) -> None:
    """The API's JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=not stdout.encoding.startswith("utf")))


def safe(text: str) -> str:
    """The text without what would move a terminal's cursor, colour it or turn its writing; lines stay lines."""
    return "\n".join(wording.log_line(line) for line in text.split("\n"))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], none: str) -> None:
    """Rows under their titles, each on one line unless a terminal is too narrow; `none` is said where there is none."""
    cells = [[wording.one_line(cell) for cell in row] for row in rows]
    if not cells:
        note(none)
    elif stdout.is_terminal:
        stdout.print(_grid(titles, cells))
    else:
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        for row in ([title.upper() for title in titles], *cells):
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    grid = Table(*titles, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def moment(value: str | None) -> str:
    """A time of the API as people read it."""
    return wording.moment(datetime.fromisoformat(value)) if value else NOTHING


async def unless_interrupted(work: Coroutine[Any, Any, T]) -> T | None:
    """The result, or None after Ctrl-C, which then ends this work only."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        if interrupted:
            return None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
