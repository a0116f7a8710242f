"""The list of archives that a run left as its output: read from the file, page by page."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from jobs.borg.archive_list import ListedArchive, read_archives

PAGE = 500


def count(output: Path) -> int:
    """How many archives it lists; blocking. Raises ValueError where it is no whole list."""
    with output.open("rb") as file:
        return sum(1 for _ in read_archives(file))


async def pages(output: Path) -> AsyncIterator[Sequence[ListedArchive]]:
    """The archives, some hundred at a time."""
    with output.open("rb") as file:
        archives = read_archives(file)
        while page := await asyncio.to_thread(_page, archives):
            yield page


def _page(archives: Iterator[ListedArchive]) -> list[ListedArchive]:
    return list(islice(archives, PAGE))
