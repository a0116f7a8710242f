"""`locutus schedule`: jobs that run by themselves are added, shown, paused, resumed and removed."""

from datetime import datetime
from typing import Annotated, Any

import typer

from bot import wording
from bot.commands.schedules import retention
from cli.api_client import Api, ApiError, api
from cli.jobs import parameter
from cli.listing import say_list
from cli.named import place_field
from cli.output import NOTHING, AsJson, command, moment, say, say_json, table
from jobs.errors import InvalidRequestError
from jobs.settings import load_settings

PATH = "/api/scheduled-jobs"
RUNS_SHOWN = 5

schedule = typer.Typer(help="Have jobs run by themselves.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name or number.")]


@schedule.command()
@command
async def add(  # noqa: PLR0913 - one argument an option
    repository: Annotated[str, typer.Argument(metavar="REPO", help="Its name or id; for package_install the host.")],
    when: Annotated[str, typer.Argument(metavar="WHEN", help='Cron, or words: "every night at 2".')],
    *,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Such as Europe/Berlin.")] = None,
    kind: Annotated[str, typer.Option(help="Which job.")] = "backup",
    parameters: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter.")] = None,
    prune: Annotated[list[str] | None, typer.Option(metavar="keep-daily=7", help="Prune after the backup.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Compact after that.")] = False,
    archive_name: Annotated[str | None, typer.Option(metavar="TEMPLATE", help="What its archives are called.")] = None,
    catch_up: Annotated[str | None, typer.Option(metavar="one|none", help="Runs that were missed.")] = None,
    overlap: Annotated[str | None, typer.Option(metavar="queue|skip|replace", help="While the last one runs.")] = None,
    jitter: Annotated[str | None, typer.Option(metavar="DURATION", help="Up to how much later, such as 10m.")] = None,
    priority: Annotated[str | None, typer.Option(metavar="high|normal|low")] = None,
    channel: Annotated[str | None, typer.Option(help="Where its threads go, such as slack:TEAM:CHANNEL.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a schedule, and say when it runs next."""
    said = {
        place_field(kind): repository, "cron_expression": when, "name": name, "timezone": timezone, "kind": kind,
        "parameters": dict(map(parameter, parameters or [])), "archive_name_template": archive_name,
        "run_prune_after": bool(prune), "run_compact_after": compact, "catch_up": catch_up, "overlap": overlap,
        "jitter": jitter, "priority": priority, "channel": channel, **_rules(prune or []),
    }  # fmt: skip
    async with api(load_settings()) as client:
        added = await client.post(PATH, {field: value for field, value in said.items() if value is not None})
    if as_json:
        say_json(added)
        return
    zone = "" if timezone else " (the setting default_timezone; --timezone says another)"
    say(f"Schedule {added['name']}: {added['kind']} of {added['repository'] or added['host']}, {_when(added)}{zone}.")
    say(f"Next runs: {', '.join(map(_here, added['next_runs']))}.")


@schedule.command("list")
@command
async def list_schedules(*, as_json: AsJson = False) -> None:
    """The schedules, and when each runs next."""
    titles = ("Name", "Kind", "Repository", "When", "Last run", "Next run")
    none = 'There is no schedule yet. `locutus schedule add REPO "every night at 2"` adds one.'
    await say_list(PATH, titles, _row, none, as_json=as_json, by_name=True)


@schedule.command()
@command
async def show(name: Name, *, as_json: AsJson = False) -> None:
    """Everything about a schedule, and what became of its last runs."""
    async with api(load_settings()) as client:
        found = await client.get(f"{PATH}/{(await _named(client, name))['id']}")
        runs = await client.items(f"{PATH}/{found['id']}/runs", RUNS_SHOWN)
    if as_json:
        say_json({**found, "runs": runs})
        return
    width = max(map(len, found))
    for field, value in found.items():
        if value not in (None, [], {}, False):
            say(f"{field.replace('_', ' ').ljust(width)}  {_shown(field, value)}")
    rows = [[moment(run["planned_at"]), run["state"], _job(run), run["reason"] or NOTHING] for run in runs]
    table(("Planned", "Became", "Job", "Why"), rows, "It has not run yet.")


@schedule.command()
@command
async def pause(name: Name, *, as_json: AsJson = False) -> None:
    """Have a schedule rest."""
    changed = await _switch(name, enabled=False)
    if as_json:
        say_json(changed)
    else:
        say(f"Schedule {changed['name']} is paused.")


@schedule.command()
@command
async def resume(name: Name, *, as_json: AsJson = False) -> None:
    """Have a paused schedule run again."""
    changed = await _switch(name, enabled=True)
    if as_json:
        say_json(changed)
    else:
        say(f"Schedule {changed['name']} runs next at {_here(changed['next_run'])}.")


@schedule.command()
@command
async def remove(name: Name, *, as_json: AsJson = False) -> None:
    """Forget a schedule; its jobs stay."""
    async with api(load_settings()) as client:
        found = await _named(client, name)
        await client.delete(f"{PATH}/{found['id']}")
    if as_json:
        say_json({"removed": found["name"]})
    else:
        say(f"Schedule {found['name']} is removed; its jobs stay.")


async def _switch(name: str, *, enabled: bool) -> dict[str, Any]:
    async with api(load_settings()) as client:
        found = await _named(client, name)
        return dict(await client.put(f"{PATH}/{found['id']}", {"enabled": enabled}))


async def _named(client: Api, name: str) -> dict[str, Any]:
    for row in await client.items(PATH):
        if name in {row["name"], str(row["id"])}:
            return dict(row)
    raise ApiError(f"There is no schedule {name}. `locutus schedule list` shows those there are.")


def _rules(prune: list[str]) -> dict[str, int]:
    try:
        return retention(prune)
    except InvalidRequestError as error:
        raise typer.BadParameter(f"--prune: {error.reason}") from error


def _row(row: dict[str, Any]) -> list[str]:
    where = row["repository"] or row["host"]
    return [row["name"], row["kind"], where, _when(row), moment(row["last_run"]), _next(row)]


def _when(row: dict[str, Any]) -> str:
    return f"{row['cron_expression']} {row['timezone']}"


def _next(row: dict[str, Any]) -> str:
    return _here(row["next_run"]) if row["next_run"] else "paused"


def _here(when: str) -> str:
    """A time of the API by this machine's clock."""
    return wording.local(datetime.fromisoformat(when), None)


def _job(run: dict[str, Any]) -> str:
    return f"#{run['job_id']}" if run["job_id"] else NOTHING


def _shown(field: str, value: Any) -> str:
    if field in {"last_run", "next_run", "created_at"}:
        return moment(value)
    if field == "next_runs":
        return ", ".join(map(_here, value))
    return str(value)
