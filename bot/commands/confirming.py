"""Requests that wait for a yes: how they are asked, and the commands that say yes or no."""

from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values
from bot.commands.lookup import may_see
from bot.commands.outcome import queued
from jobs import confirmations
from jobs.access import Role
from jobs.command_words import Positional, WordType
from jobs.confirmations import ConfirmationState
from jobs.errors import NotFoundError

_NUMBER = Positional("confirmation", WordType.CONFIRMATION, "NUMBER", help="the number that was told")


async def _confirm(asker: Asker, values: Values) -> Answer:
    number = values["confirmation"]
    await _require_visible(asker, number)
    job = await confirmations.confirm(number, asker.principal, origin=asker.origin, asked_in=asker.channel)
    return queued(job)


async def _dismiss(asker: Asker, values: Values) -> Answer:
    number = values["confirmation"]
    await _require_visible(asker, number)
    row = await confirmations.dismiss(number, asker.principal, origin=asker.origin, asked_in=asker.channel)
    if confirmations.state_of(row) is ConfirmationState.EXPIRED:
        return Answer(f"Confirmation {number} had expired already; nothing was done.")
    return Answer(f"Confirmation {number} is dismissed; nothing was done.")


async def _require_visible(asker: Asker, number: int) -> None:
    row = await confirmations.find(number)
    if row.asked_by != asker.principal.subject and not may_see(asker, row.repository_name):
        raise NotFoundError(f"There is no confirmation {number}.")


COMMANDS = (
    Command("confirm", "says yes to what was asked back", _confirm, Role.OPERATE, (_NUMBER,)),
    Command("dismiss", "says no to what was asked back", _dismiss, Role.OPERATE, (_NUMBER,)),
)
