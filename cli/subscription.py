"""`locutus subscription`: endpoints that are told how jobs end, by signed webhooks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api_client import ApiError, api
from cli.output import AsJson, command, note, say, say_json, table
from jobs.settings import load_settings

PATH = "/api/subscriptions"
ALL = "all"

subscription = typer.Typer(help="Have endpoints told how jobs end.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="The subscription's number.")]


@subscription.command()
@command
async def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the webhooks go.")],
    *,
    event: Annotated[list[str] | None, typer.Option(help="Such as job.failed; repeat for more; else all ends.")] = None,
    repository: Annotated[list[str] | None, typer.Option(help="Only this one's jobs; repeat for more.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with the whsec_… that signs; else one is made.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add an endpoint. A secret that is made here is printed this once."""
    body = {"url": url, "events": event, "repositories": repository, "secret": _read(secret_file)}
    async with api(load_settings()) as client:
        made = await client.post(PATH, {name: value for name, value in body.items() if value})
    if as_json:
        say_json(made)
        return
    note(f"Subscription {made['id']} is told of {', '.join(made['events'])}.")
    if made["secret"]:
        note("This secret verifies the signatures. Keep it: it is shown this once.")
        say(made["secret"])


@subscription.command("list")
@command
async def list_subscriptions(*, as_json: AsJson = False) -> None:
    """The endpoints; never their secrets."""
    async with api(load_settings()) as client:
        found = await client.items(PATH)
    if as_json:
        say_json({"items": found})
        return
    none = "There is no subscription. `locutus subscription add URL` adds one."
    table(("ID", "URL", "Events", "Repositories", "State"), [_row(one) for one in found], none)


@subscription.command()
@command
async def remove(number: Number, *, as_json: AsJson = False) -> None:
    """Tell an endpoint nothing more, and forget what it was still to be told."""
    async with api(load_settings()) as client:
        await client.delete(f"{PATH}/{number}")
    if as_json:
        say_json({"removed": number})
    else:
        say(f"Subscription {number} is removed.")


def _row(one: dict[str, Any]) -> list[str]:
    repositories = ALL if one["repositories"] is None else ", ".join(one["repositories"])
    state = "on" if one["enabled"] else one["disabled_reason"] or "off"
    return [str(one["id"]), one["url"], ", ".join(one["events"]), repositories, state]


def _read(file: Path | None) -> str | None:
    try:
        return file.read_text().strip() if file else None
    except (OSError, UnicodeDecodeError) as error:
        raise ApiError(f"{file} can't be read as a secret ({getattr(error, 'strerror', 'it is no text')}).") from error
