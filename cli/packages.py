"""`locutus packages`: Debian packages on hosts."""

from typing import Annotated, Any

import typer

from cli.api_client import api
from cli.jobs import say_started
from cli.listing import say_list
from cli.output import AsJson, command, moment
from jobs.settings import load_settings

PATH = "/api/system/packages"

packages = typer.Typer(help="Install packages on hosts, and see what was installed.", no_args_is_help=True)


@packages.command()
@command
async def install(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A Debian package, such as borgbackup.")],
    *,
    host: Annotated[str | None, typer.Option(help="Where; the gateway's own host if not given.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it completed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a host install a package."""
    body = {"package": name} | ({"host": host} if host else {})
    async with api(load_settings()) as client:
        started = await client.post(f"{PATH}/install", body)
        await say_started(client, started, wait=wait, as_json=as_json)


@packages.command("list")
@command
async def list_packages(*, as_json: AsJson = False) -> None:
    """What was installed where."""
    titles = ("Host", "Package", "Version", "Status", "Since")
    await say_list(PATH, titles, _row, "No package was installed yet.", as_json=as_json)


def _row(package: dict[str, Any]) -> list[str]:
    return [package["host"], package["name"], package["version"], package["status"], moment(package["updated_at"])]
