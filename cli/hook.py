"""`locutus hook`: the ways in for signed requests are added, shown, rotated, switched off and removed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api_client import Api, api
from cli.jobs import parameter
from cli.listing import say_list
from cli.named import named, place_field
from cli.output import NOTHING, AsJson, command, note, say, say_json
from cli.subscription import read_secret
from jobs.settings import load_settings

PATH = "/api/hooks"

hook = typer.Typer(help="Start jobs by signed requests.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The hook's name, the last part of its address.")]
SecretFile = Annotated[Path | None, typer.Option(help="A file with the secret; else one is made.")]


@hook.command()
@command
async def add(  # noqa: PLR0913 - one argument an option
    name: Name,
    repository: Annotated[
        str | None, typer.Argument(metavar="[REPO]", help="What it works on; for package_install the host.")
    ] = None,
    *,
    scheme: Annotated[str, typer.Option(help="standard, github, gitlab or gitea.")] = "standard",
    kind: Annotated[str, typer.Option(help="Which job.")] = "backup",
    parameters: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter.")] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", metavar="NAME=/POINTER", help="A parameter from the payload.")
    ] = None,
    template: Annotated[str | None, typer.Option(metavar="NAME", help="Parameters that were given a name.")] = None,
    then: Annotated[list[str] | None, typer.Option(metavar="KIND", help="What follows; repeat for more.")] = None,
    when: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="A condition; event=push, or a field, or /POINTER.")
    ] = None,
    every_delivery: Annotated[
        bool, typer.Option("--every-delivery", help="A job for each, also while one waits already.")
    ] = False,
    rate_limit: Annotated[str | None, typer.Option(metavar="60/m", help="The most deliveries it takes.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="NETWORK", help="Only from there; repeat for more.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Where its threads go, such as slack:TEAM:CHANNEL.")] = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a hook. A secret that is made here is printed this once."""
    action = {
        "kind": kind, place_field(kind): repository, "parameters": dict(map(parameter, parameters or [])),
        "mapping": dict(map(_pair, mapping or [])), "template": template, "then": then or [],
    }  # fmt: skip
    body = {
        "name": name, "scheme": scheme, "secret": read_secret(secret_file), "action": action,
        "when": dict(map(parameter, when or [])), "coalesce": not every_delivery, "rate_limit": rate_limit,
        "allowed_addresses": allow, "channel": channel,
    }  # fmt: skip
    async with api(load_settings()) as client:
        made = await client.post(PATH, {field: value for field, value in body.items() if value is not None})
    if as_json:
        say_json(made)
        return
    note(f"Send deliveries to {made['url']}, signed as {made['scheme']}.")
    _say_secret(made["secret"])


@hook.command("list")
@command
async def list_hooks(*, as_json: AsJson = False) -> None:
    """The hooks; never their secrets."""
    none = "There is no hook. `locutus hook add NAME REPO` adds one."
    await say_list(PATH, ("Name", "Scheme", "Starts", "When", "State"), _row, none, as_json=as_json)


@hook.command()
@command
async def rotate(name: Name, *, secret_file: SecretFile = None, as_json: AsJson = False) -> None:
    """Give it a new secret; the old one holds beside it until `locutus hook settle NAME`."""
    async with api(load_settings()) as client:
        number, secret = await _number(client, name), read_secret(secret_file)
        rotated = await client.post(f"{PATH}/{number}/rotate", {"secret": secret} if secret else {})
    if as_json:
        say_json(rotated)
        return
    note(f"Either secret holds until `locutus hook settle {name}` ends the old one.")
    _say_secret(rotated["secret"])


@hook.command()
@command
async def settle(name: Name, *, as_json: AsJson = False) -> None:
    """End the old secret after a rotation."""
    await _change(name, {"second_secret": None}, f"Hook {name} has one secret.", as_json=as_json)


@hook.command()
@command
async def pause(name: Name, *, as_json: AsJson = False) -> None:
    """Switch it off: deliveries are refused."""
    await _change(name, {"enabled": False}, f"Hook {name} is switched off.", as_json=as_json)


@hook.command()
@command
async def resume(name: Name, *, as_json: AsJson = False) -> None:
    """Switch it on again."""
    await _change(name, {"enabled": True}, f"Hook {name} is switched on.", as_json=as_json)


@hook.command()
@command
async def remove(name: Name, *, as_json: AsJson = False) -> None:
    """Forget a hook."""
    async with api(load_settings()) as client:
        await client.delete(f"{PATH}/{await _number(client, name)}")
    if as_json:
        say_json({"removed": name})
    else:
        say(f"Hook {name} is removed.")


async def _change(name: str, change: dict[str, Any], said: str, *, as_json: bool) -> None:
    async with api(load_settings()) as client:
        changed = await client.put(f"{PATH}/{await _number(client, name)}", change)
    if as_json:
        say_json(changed)
    else:
        say(said)


async def _number(client: Api, name: str) -> int:
    return int((await named(client, PATH, name, noun="hook", group="hook"))["id"])


def _row(one: dict[str, Any]) -> list[str]:
    action = one["action"]
    starts = f"{action['kind']} {action['repository'] or action['host'] or '(its repository was removed)'}"
    when = ", ".join(f"{name}={value}" for name, value in one["when"].items())
    return [one["name"], one["scheme"], starts, when or NOTHING, "on" if one["enabled"] else "off"]


def _pair(text: str) -> tuple[str, str]:
    name, equals, pointer = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"write NAME=/POINTER, not {text!r}.")
    return name, pointer


def _say_secret(secret: str | None) -> None:
    if secret:
        note("Give the sender this secret. Keep it: it is shown this once.")
        say(secret)
