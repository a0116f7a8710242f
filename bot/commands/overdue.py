"""The commands for backups that are overdue: what they are, and taking note of one so that it is told no more."""

from collections.abc import Mapping
from datetime import datetime

from bot import wording
from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values
from bot.commands.lookup import repository_named, visible_repositories
from jobs import overdue
from jobs.access import Role
from jobs.clock import now
from jobs.command_words import REPOSITORY, Positional
from jobs.models import Repository
from jobs.repositories import Asker as Requester
from jobs.settings import whole_seconds

LIST_LIMIT = 20
_FOR = Positional("duration", placeholder="DURATION", help="for how long, such as 12h or 3d")


async def overdue_lines(asker: Asker) -> list[str]:
    """A line for each repository that the asker may see and whose backup is overdue."""
    late = [row for row in await visible_repositories(asker) if row.overdue_since is not None]
    newest = await overdue.newest_archives(late)
    return [_line(row, newest) for row in late[:LIST_LIMIT]]


async def _list(asker: Asker, values: Values) -> Answer:
    del values
    return Answer("\n".join(await overdue_lines(asker)) or "No backup is overdue.")


async def _acknowledge(asker: Asker, values: Values) -> Answer:
    repository = await repository_named(asker, values["repository"])
    await overdue.acknowledge(_requester(asker), repository)
    return Answer(f"Noted: nothing more is said of {repository.name} until it has been backed up.")


async def _snooze(asker: Asker, values: Values) -> Answer:
    repository = await repository_named(asker, values["repository"])
    until = overdue.snoozed_until(now(), whole_seconds(values["duration"]))
    await overdue.snooze(_requester(asker), repository, until)
    return Answer(f"Nothing is said of {repository.name} until {wording.moment(until)}.")


def _line(row: Repository, newest: Mapping[int, datetime]) -> str:
    last = newest.get(row.id)
    return (
        f"{row.name} is overdue: last backup {wording.moment(last) if last else 'never'}, "
        f"one is expected every {wording.duration(row.expected_every or 0)}{_quiet(row)}."
    )


def _quiet(row: Repository) -> str:
    if row.overdue_acknowledged_by:
        return f"; {row.overdue_acknowledged_by} has taken note"
    if row.overdue_snoozed_until and row.overdue_snoozed_until > now():
        return f"; quiet until {wording.moment(row.overdue_snoozed_until)}"
    return ""


def _requester(asker: Asker) -> Requester:
    return Requester(asker.principal, asker.origin, asker.channel)


COMMANDS = (
    Command("overdue list", "shows the backups that are overdue", _list),
    Command("overdue acknowledge", "says no more of one until it is made", _acknowledge, Role.OPERATE, (REPOSITORY,)),
    Command("overdue snooze", "says nothing of one for a while", _snooze, Role.OPERATE, (REPOSITORY, _FOR)),
)
