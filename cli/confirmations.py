"""`locutus confirmations`: requests that wait for a yes."""

from typing import Annotated, Any

import typer

from cli.api_client import api
from cli.output import NOTHING, AsJson, command, moment, run_async, say, say_json, table
from jobs.settings import load_settings

PATH = "/api/confirmations"
DEFAULT_LIMIT = 20

confirmations = typer.Typer(help="Look at requests that wait for a yes, and say it.")

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The confirmation's number.")]


@confirmations.callback(invoke_without_command=True)
def newest(context: typer.Context) -> None:
    """Look at requests that wait for a yes, and say it; alone, the newest ones."""
    if context.invoked_subcommand is None:
        run_async(_list(DEFAULT_LIMIT, as_json=False))


@confirmations.command("list")
@command
async def list_confirmations(
    *, limit: Annotated[int, typer.Option(min=1)] = DEFAULT_LIMIT, as_json: AsJson = False
) -> None:
    """The newest requests that were asked back."""
    await _list(limit, as_json=as_json)


@confirmations.command()
@command
async def confirm(number: Number, *, as_json: AsJson = False) -> None:
    """Say yes: the job is accepted."""
    async with api(load_settings()) as client:
        started = await client.post(f"{PATH}/{number}/confirm")
    if as_json:
        say_json(started)
    else:
        say(f"Job #{started['job_id']} is {started['status']}. `locutus jobs show {started['job_id']}` shows it.")


@confirmations.command()
@command
async def dismiss(number: Number, *, as_json: AsJson = False) -> None:
    """Say no: nothing is done."""
    async with api(load_settings()) as client:
        row = await client.post(f"{PATH}/{number}/dismiss")
    if as_json:
        say_json(row)
    else:
        say(f"Confirmation {number} is {row['state']}; nothing was done.")


async def _list(limit: int, *, as_json: bool) -> None:
    async with api(load_settings()) as client:
        found = await client.items(PATH, limit)
    if as_json:
        say_json({"items": found})
        return
    titles = ("Number", "What", "Asked by", "State", "Until", "Job")
    table(titles, list(map(_row, found)), "Nothing was asked back.")


def _row(row: dict[str, Any]) -> list[str]:
    number = f"#{row['job_id']}" if row["job_id"] else NOTHING
    return [
        str(row["id"]), " ".join(row["plan"]), row["asked_by"], row["state"], moment(row["expires_at"]), number,
    ]  # fmt: skip
