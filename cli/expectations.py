"""`locutus repo expect`, `acknowledge` and `snooze`: how fresh a repository must be, and taking note when it is not."""

from typing import Annotated, Any

import typer

from bot import wording
from cli.api_client import api, segment
from cli.output import AsJson, command, moment, say, say_json
from cli.repo import PATH, Name
from jobs.settings import load_settings

OFF = "off"


@command
async def expect(
    name: Name,
    *,
    backup_every: Annotated[
        str | None, typer.Option(metavar="DURATION|off", help="How old its newest archive may be, such as 26h.")
    ] = None,
    check_every: Annotated[
        str | None, typer.Option(metavar="DAYS|off", help="After how many days it is checked by itself.")
    ] = None,
    check_for: Annotated[
        str | None, typer.Option(metavar="SECONDS|off", help="How long such a check may take; the next one goes on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how old a repository's newest archive may be, and how often it is checked by itself."""
    said = {"expected_every": backup_every, "check_interval_days": check_every, "check_max_duration": check_for}
    change: dict[str, Any] = {field: None if value == OFF else value for field, value in said.items() if value}
    async with api(load_settings()) as client:
        changed = await client.put(f"{PATH}/{segment(name)}", change)
    if as_json:
        say_json(changed)
        return
    fresh = wording.duration(changed["expected_every"]) if changed["expected_every"] else "any age"
    days = changed["check_interval_days"]
    checked = f"every {wording.count(days, 'day')}" if days else "when somebody asks for it"
    say(f"Repository {name}: its newest archive may have {fresh}; it is checked {checked}.")


@command
async def acknowledge(name: Name, *, as_json: AsJson = False) -> None:
    """Take note of a backup that is overdue: nothing more is said of it until it is made."""
    async with api(load_settings()) as client:
        changed = await client.post(f"{PATH}/{segment(name)}/overdue/acknowledge")
    if as_json:
        say_json(changed)
    else:
        say(f"Noted: nothing more is said of {name} until it has been backed up.")


@command
async def snooze(
    name: Name,
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="For how long, such as 12h or 3d.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Hear nothing of a backup that is overdue for a while."""
    async with api(load_settings()) as client:
        changed = await client.post(f"{PATH}/{segment(name)}/overdue/snooze", {"duration": duration})
    if as_json:
        say_json(changed)
    else:
        say(f"Nothing is said of {name} until {moment(changed['overdue_snoozed_until'])}.")
