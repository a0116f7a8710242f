"""A list of the API as a command prints it."""

from collections.abc import Callable, Sequence
from typing import Any

from cli.api_client import api
from cli.output import say_json, table
from jobs.settings import load_settings


async def say_list(
    path: str,
    titles: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str]],
    none: str,
    *,
    as_json: bool,
    by_name: bool = False,
) -> list[dict[str, Any]]:
    """All items at `path`, newest first unless they go `by_name`: a row each, or the API's JSON; `none` without any.

    Returns the items. Raises `SettingsError` and `ApiError`.
    """
    async with api(load_settings()) as client:
        found = await client.items(path)
    if as_json:
        say_json({"items": found})
    else:
        in_order = sorted(found, key=lambda item: item["name"]) if by_name else found
        table(titles, [row(item) for item in in_order], none)
    return found
