"""`locutus grant`: who may do what."""

from typing import Annotated, Any

import typer

from cli.api_client import Api, ApiError, api
from cli.output import AsJson, command, say, say_json, table
from jobs.access import ROLE_NAMES
from jobs.settings import load_settings

PATH = "/api/role-bindings"
ALL = "all"


@command
async def grant(  # noqa: PLR0913 - one argument an option
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", help="Such as slack:TEAM:USER or token:NAME.")
    ] = None,
    role: Annotated[str | None, typer.Argument(metavar="ROLE", help=", ".join(ROLE_NAMES))] = None,
    *,
    repository: Annotated[list[str] | None, typer.Option(help="Only on this one; repeat for more.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Only when asked there; repeat for more.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what was granted, to SUBJECT or to all.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take back ROLE, or every role, from SUBJECT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give SUBJECT a ROLE, or take it back.

    It holds everywhere, or on the repositories and in the channels that are named.
    """
    if not list_ and (subject is None or (role is None and not remove)):
        raise typer.BadParameter("say who and what: locutus grant SUBJECT ROLE, or --list.")
    async with api(load_settings()) as client:
        if list_ or remove:
            found = [row for row in await client.items(PATH) if _meant(row, subject, role)]
            await (_take_back(client, found, as_json=as_json) if remove else _show(found, as_json=as_json))
        else:
            body = {"subject": subject, "role": role, "repositories": repository, "channels": channel}
            made = await client.post(PATH, {name: value for name, value in body.items() if value})
            _say(f"{subject} may {role}{_where(made)}.", made, as_json=as_json)


async def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        say_json({"items": found})
        return
    rows = [[row["subject"], row["role"], _names(row["repositories"]), _names(row["channels"])] for row in found]
    table(("Subject", "Role", "Repositories", "Channels"), rows, "Nothing is granted.")


async def _take_back(client: Api, found: list[dict[str, Any]], *, as_json: bool) -> None:
    if not found:
        raise ApiError("Nothing of the kind is granted. `locutus grant --list` shows what is.")
    for row in found:
        await client.delete(f"{PATH}/{row['id']}")
    if as_json:
        say_json({"removed": found})
        return
    for row in found:
        say(f"{row['subject']} may no longer {row['role']}{_where(row)}.")


def _meant(row: dict[str, Any], subject: str | None, role: str | None) -> bool:
    return subject in {None, row["subject"]} and role in {None, row["role"]}


def _where(row: dict[str, Any]) -> str:
    on = f" on {_names(row['repositories'])}" if row["repositories"] else ""
    return on + (f" when asked in {_names(row['channels'])}" if row["channels"] else "")


def _names(names: list[str] | None) -> str:
    return ", ".join(names) if names else ALL


def _say(text: str, value: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(value)
    else:
        say(text)
