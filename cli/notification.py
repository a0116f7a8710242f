"""`locutus notification`: the places where people read are added, tried out and removed."""

import sys
from typing import Annotated, Any

import typer

from cli.api_client import Api, api
from cli.listing import say_list
from cli.named import named
from cli.output import AsJson, command, fail, say, say_json
from jobs.notification_rules import told_of
from jobs.settings import load_settings

PATH = "/api/notification-channels"

notification = typer.Typer(help="Tell people what became of jobs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the channel is called.")]


@notification.command()
@command
async def add(  # noqa: PLR0913 - one argument an option
    name: Name,
    *,
    event: Annotated[list[str] | None, typer.Option(help="Such as backup_failure; else as the settings say.")] = None,
    repository: Annotated[list[str] | None, typer.Option(help="Only this one's; repeat for more.")] = None,
    digest_at: Annotated[str | None, typer.Option(metavar="HH:MM", help="One message a day, at that time.")] = None,
    quiet: Annotated[str | None, typer.Option(metavar="HH:MM-HH:MM", help="Nothing is sent then.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Of these times, such as Europe/Berlin.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a channel. Its URL is read from stdin, as it is a secret: an apprise URL, or ping+https://…"""
    start, _, end = (quiet or "").partition("-")
    body = {
        "name": name, "url": sys.stdin.readline().strip(), "events": event, "repositories": repository,
        "digest_at": digest_at, "quiet_from": start, "quiet_until": end, "timezone": timezone,
    }  # fmt: skip
    async with api(load_settings()) as client:
        made = await client.post(PATH, {field: value for field, value in body.items() if value})
    if as_json:
        say_json(made)
    else:
        say(f"Channel {name} ({made['service']}) is added. `locutus notification test {name}` tries it out.")


@notification.command("list")
@command
async def list_channels(*, as_json: AsJson = False) -> None:
    """The channels; never their URLs."""
    none = "There is no notification channel. `locutus notification add NAME` adds one."
    await say_list(PATH, ("Name", "Service", "Events", "Repositories", "State"), _row, none, as_json=as_json)


@notification.command("test")
@command
async def send_test(name: Name, *, as_json: AsJson = False) -> None:
    """Send a test message now; exit status 1 when it was not taken."""
    async with api(load_settings()) as client:
        tested = await client.post(f"{PATH}/{await _number(client, name)}/test")
    if as_json:
        say_json(tested)
    if not tested["delivered"]:
        fail(tested["error"])
    if not as_json:
        say(f"Channel {name} took the message.")


@notification.command()
@command
async def remove(name: Name, *, as_json: AsJson = False) -> None:
    """Tell a channel nothing more."""
    async with api(load_settings()) as client:
        await client.delete(f"{PATH}/{await _number(client, name)}")
    if as_json:
        say_json({"removed": name})
    else:
        say(f"Channel {name} is removed.")


async def _number(client: Api, name: str) -> int:
    return int((await named(client, PATH, name, noun="notification channel", group="notification"))["id"])


def _row(one: dict[str, Any]) -> list[str]:
    repositories = "all" if one["repositories"] is None else ", ".join(one["repositories"])
    told = told_of(one["service"], one["events"])
    return [one["name"], one["service"], told, repositories, "on" if one["enabled"] else "off"]
