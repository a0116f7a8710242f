"""What may be meant by a word that is being typed: offered by platforms that complete (Discord, Slack's menus)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bot import wording
from bot.commands.asking import Asker
from bot.commands.catalogue import COMMANDS
from bot.commands.declaration import Values
from bot.commands.lookup import may_see, visible, visible_jobs, visible_repositories
from bot.commands.outcome import described
from bot.commands.schedules import visible_schedules
from jobs import runtime_settings
from jobs.clock import now
from jobs.command_words import WordType
from jobs.database.unit import reader
from jobs.models import Archive, Confirmation
from jobs.place import number_of

OFFERED = 25
"""As many as Discord takes: https://discord.com/developers/docs/interactions/application-commands#autocomplete"""
LOOKED_AT = 200
LABEL_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """What is offered: `value` is what stands in the command, `label` what people see, both at most 100 characters."""

    value: str
    label: str


async def complete(word: WordType, typed: str, said: Values, asker: Asker) -> list[Choice]:
    """At most 25 choices for a word of this type that hold what was `typed`; `said` is what stands there already.

    Who may see nothing is offered nothing; a type of which nothing is kept offers nothing.
    """
    offer = _OFFERS.get(word)
    if offer is None or not typed.isprintable() or not asker.principal.may_anything(asker.channel):
        return []
    wanted = typed.casefold().removeprefix("#")
    found = [choice for choice in await offer(wanted, said, asker) if wanted in choice.label.casefold()]
    return [choice for choice in found if len(choice.value) <= LABEL_LIMIT][:OFFERED]


async def _repositories(wanted: str, said: Values, asker: Asker) -> list[Choice]:
    del wanted, said
    return [Choice(row.name, _label(f"{row.name} on {row.host}")) for row in await visible_repositories(asker)]


async def _archives(wanted: str, said: Values, asker: Asker) -> list[Choice]:
    rows = Archive.filter(visible(asker, "repository__name"), name__icontains=wanted)
    if named := said.get("repository"):
        rows = rows.filter(**{"repository_id" if str(named).isdecimal() else "repository__name": named})
    found = await rows.using_db(reader()).order_by("-started_at").limit(OFFERED)
    return [Choice(row.name, _label(row.name)) for row in found]


async def _jobs(wanted: str, said: Values, asker: Asker) -> list[Choice]:
    del said
    seen = visible_jobs(asker).order_by("-id")
    number = number_of(wanted)
    named = [] if number is None else await seen.filter(id=number)
    rows = {row.id: row for row in [*named, *await seen.limit(LOOKED_AT)]}
    return [Choice(str(row.id), _label(f"#{row.id} {described(row)}: {row.status}")) for row in rows.values()]


async def _schedules(wanted: str, said: Values, asker: Asker) -> list[Choice]:
    del wanted, said
    return [Choice(row.name, _label(f"{row.name}: {row.cron_expression}")) for row in await visible_schedules(asker)]


async def _packages(wanted: str, said: Values, asker: Asker) -> list[Choice]:
    del wanted, said, asker
    return [Choice(name, name) for name in (await runtime_settings.load()).package_allowlist]


async def _confirmations(wanted: str, said: Values, asker: Asker) -> list[Choice]:
    del wanted, said
    waiting = Confirmation.filter(state="waiting", expires_at__gt=now()).using_db(reader())
    rows = [row for row in await waiting.order_by("-id") if may_see(asker, row.repository_name)]
    return [Choice(str(row.id), _label(f"#{row.id} {' '.join(row.plan)}")) for row in rows]


async def _commands(wanted: str, said: Values, asker: Asker) -> list[Choice]:
    del wanted, said, asker
    return [Choice(name, _label(f"{name}: {command.summary}")) for name, command in COMMANDS.items()]


def _label(text: str) -> str:
    return wording.clip(wording.one_line(text), LABEL_LIMIT)


_OFFERS: Mapping[WordType, Callable[[str, Values, Asker], Awaitable[list[Choice]]]] = {
    WordType.REPOSITORY: _repositories,
    WordType.ARCHIVE: _archives,
    WordType.JOB: _jobs,
    WordType.SCHEDULE: _schedules,
    WordType.PACKAGE: _packages,
    WordType.CONFIRMATION: _confirmations,
    WordType.COMMAND: _commands,
}
