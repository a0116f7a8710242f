"""The commands for notification channels: which there are, and trying one out. Their URLs are not for a chat."""

from bot.card import Button
from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values
from jobs import channel_test
from jobs.access import Role
from jobs.command_words import Positional
from jobs.database.unit import reader
from jobs.models import NotificationChannel
from jobs.notification_rules import MONITOR, told_of

TEST = "channel.test"
LIST_LIMIT = 20
_BUTTONS = 5
_CHANNEL = Positional("channel", placeholder="CHANNEL", help="the notification channel's name")


async def _list(asker: Asker, values: Values) -> Answer:
    del values
    asker.principal.require(Role.ADMINISTER, None, asker.channel)
    found = await NotificationChannel.all().using_db(reader()).order_by("name").limit(LIST_LIMIT + 1)
    if not found:
        return Answer("There is no notification channel. `locutus notification add NAME` on the gateway adds one.")
    lines = [_line(row) for row in found[:LIST_LIMIT]] + ["…"] * (len(found) > LIST_LIMIT)
    testable = [row.name for row in found if row.enabled and row.service != MONITOR]
    buttons = tuple(Button(TEST, name, f"Test {name}") for name in testable[:_BUTTONS])
    return Answer("\n".join(lines), buttons=buttons)


async def _test(asker: Asker, values: Values) -> Answer:
    name = values["channel"]
    owed = await channel_test.send(name, asker.principal, origin=asker.origin, asked_in=asker.channel)
    return Answer(
        f"A test message to {name} is on its way. `/backup deliveries show {owed.id}` says what became of it."
    )


def _line(row: NotificationChannel) -> str:
    repositories = "" if row.repositories is None else f", of {', '.join(row.repositories) or 'no repository'}"
    off = "" if row.enabled else "; it is switched off"
    return f"{row.name} ({row.service}) is told {told_of(row.service, row.events)}{repositories}{off}."


COMMANDS = (
    Command("notification list", "shows where people are told of jobs", _list, Role.ADMINISTER),
    Command("notification test", "sends a test message to one of them", _test, Role.ADMINISTER, (_CHANNEL,)),
)
