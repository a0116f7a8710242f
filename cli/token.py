"""`locutus token`: bearer tokens for the API."""

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from cli.api_client import api
from cli.listing import say_list
from cli.named import named
from cli.output import AsJson, command, moment, note, say, say_json
from jobs.access import ROLE_NAMES
from jobs.clock import now
from jobs.settings import Duration, load_settings

PATH = "/api/tokens"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The token's name, such as ci.")]

token = typer.Typer(help="Make, list and remove API tokens.", no_args_is_help=True)


@token.command()
@command
async def add(
    name: Name,
    *,
    role: Annotated[str, typer.Option(help=", ".join(ROLE_NAMES))],
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help="After which time, such as 30d.")] = None,
    rate_limit: Annotated[str | None, typer.Option(metavar="RATE", help="How often it may ask, such as 60/m.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is printed this once."""
    body = {"name": name, "role": role, "rate_limit": rate_limit}
    body |= {"expires_at": _moment_after(expires)} if expires else {}
    async with api(load_settings()) as client:
        made = await client.post(PATH, body)
    if as_json:
        say_json(made)
        return
    until = f"until {moment(made['expires_at'])}" if made["expires_at"] else "until it is removed"
    note(f"Token {made['name']} may {made['role']}, {until}. Keep it: it is shown this once.")
    say(made["token"])


@token.command("list")
@command
async def list_tokens(*, as_json: AsJson = False) -> None:
    """The tokens' names, roles and ends; never the tokens."""
    none = "There is no token. `locutus token add NAME --role ROLE` makes one."
    await say_list(PATH, ("Name", "Role", "Made", "Expires"), _row, none, as_json=as_json)


@token.command()
@command
async def remove(name: Name, *, as_json: AsJson = False) -> None:
    """End a token, and forget what was granted to it."""
    async with api(load_settings()) as client:
        found = await named(client, PATH, name, noun="token", group="token")
        await client.delete(f"{PATH}/{found['id']}")
    if as_json:
        say_json({"removed": name})
    else:
        say(f"Token {name} is removed.")


def _row(row: dict[str, Any]) -> list[str]:
    return [row["name"], row["role"], moment(row["created_at"]), moment(row["expires_at"])]


def _moment_after(text: str) -> str:
    try:
        return (now() + TypeAdapter(Duration).validate_python(text)).isoformat()
    except (ValidationError, OverflowError) as error:
        raise typer.BadParameter(f"--expires: write a duration such as 30d or 12h, not {text!r}.") from error
