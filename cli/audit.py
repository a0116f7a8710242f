"""`locutus audit`: who asked what from where, and what became of it."""

import json
from typing import Annotated, Any

import typer

from cli.api_client import Api, api
from cli.output import NOTHING, AsJson, command, moment, say_json, table
from jobs.settings import load_settings
from webhooks.page import GREATEST_LIMIT

PATH = "/api/audit"
DEFAULT_LIMIT = 20


@command
async def audit(  # noqa: PLR0913 - one argument an option
    *,
    subject: Annotated[str | None, typer.Option(help="Only of this one, such as slack:TEAM:USER.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as backup.run.")] = None,
    result: Annotated[str | None, typer.Option(help="accepted or refused.")] = None,
    since: Annotated[str | None, typer.Option(help="RFC 3339, such as 2030-01-31T12:00:00Z.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = DEFAULT_LIMIT,
    lines: Annotated[bool, typer.Option("--lines", help="Export them all, as JSON lines.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who asked what, newest first."""
    wanted = {"subject": subject, "action": action, "result": result, "since": since}
    async with api(load_settings()) as client:
        if lines:
            await _export(client, wanted)
            return
        found = await client.items(PATH, limit, **wanted)
    if as_json:
        say_json({"items": found})
    else:
        table(("At", "Who", "Did", "On", "From", "Result"), list(map(_row, found)), "There is no such entry.")


async def _export(client: Api, wanted: dict[str, str | None]) -> None:
    """A page at a time, so that a long history needs no memory."""
    cursor = None
    while True:
        page = await client.get(PATH, **wanted, limit=GREATEST_LIMIT, cursor=cursor)
        for entry in page["items"]:
            typer.echo(json.dumps(entry))
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _row(entry: dict[str, Any]) -> list[str]:
    return [
        moment(entry["at"]),
        entry["subject"],
        entry["action"],
        entry["target"] or NOTHING,
        entry["origin"],
        entry["result"],
    ]
