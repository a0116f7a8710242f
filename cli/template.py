"""`locutus template`: named sets of parameters are added, listed and removed."""

import json
from typing import Annotated, Any

import typer

from cli.api_client import api
from cli.jobs import parameter
from cli.listing import say_list
from cli.named import named
from cli.output import AsJson, command, say, say_json
from jobs.settings import load_settings

PATH = "/api/templates"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The template's name, such as nightly.")]

template = typer.Typer(help="Keep parameters under a name, for `--template NAME`.", no_args_is_help=True)


@template.command()
@command
async def add(
    name: Name,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Which job.")],
    *,
    parameters: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a template."""
    body = {"name": name, "kind": kind, "parameters": dict(map(parameter, parameters or []))}
    async with api(load_settings()) as client:
        added = await client.post(PATH, body)
    if as_json:
        say_json(added)
    else:
        say(f"Template {added['name']}: {added['kind']} with {_said(added)}.")


@template.command("list")
@command
async def list_templates(*, as_json: AsJson = False) -> None:
    """The templates and what they say."""
    none = "There is no template yet. `locutus template add NAME KIND --set NAME=VALUE` adds one."
    await say_list(PATH, ("Name", "Kind", "Parameters"), _row, none, as_json=as_json, by_name=True)


@template.command()
@command
async def remove(name: Name, *, as_json: AsJson = False) -> None:
    """Forget a template; the jobs that were started by it stay."""
    async with api(load_settings()) as client:
        found = await named(client, PATH, name, noun="template", group="template")
        await client.delete(f"{PATH}/{found['id']}")
    if as_json:
        say_json({"removed": name})
    else:
        say(f"Template {name} is removed.")


def _row(row: dict[str, Any]) -> list[str]:
    return [row["name"], row["kind"], _said(row)]


def _said(row: dict[str, Any]) -> str:
    pairs = (f"{name}={json.dumps(value)}" for name, value in row["parameters"].items())
    return ", ".join(pairs) or "nothing beside its kind's own ways"
