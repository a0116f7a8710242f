"""The commands for webhooks and notifications that found nobody: which they are, what each try was answered, and
sending one again.
"""

from bot import wording
from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values
from jobs import delivery
from jobs.access import Role
from jobs.command_words import Positional, WordType
from jobs.database.unit import reader
from jobs.delivery import DeliveryState
from jobs.models import Delivery, DeliveryAttempt

LIST_LIMIT = 20
_REASON_LIMIT, _ANSWER_LIMIT = 120, 200
_TRIES_SHOWN = 10
_DELIVERY = Positional("delivery", WordType.DELIVERY, "DELIVERY", help="the delivery's number")


async def _list(asker: Asker, values: Values) -> Answer:
    del values
    asker.principal.require(Role.ADMINISTER, None, asker.channel)
    dead = Delivery.filter(state=DeliveryState.DEAD).using_db(reader())
    lines = [_line(row) for row in await dead.order_by("-id").limit(LIST_LIMIT)]
    return Answer("\n".join(lines) or "Every webhook and notification has arrived, or is still being tried.")


async def _show(asker: Asker, values: Values) -> Answer:
    asker.principal.require(Role.ADMINISTER, None, asker.channel)
    row = await delivery.find(values["delivery"])
    tries = await delivery.newest_tries(row.id, _TRIES_SHOWN)
    said = f"Delivery {row.id} ({row.event}) is {row.state} after {wording.count(row.attempts, 'attempt')}."
    if row.state == DeliveryState.WAITING:
        said += f" The next is due at {wording.soon(row.due_at)}."
    return Answer(said, row.job_id, code="\n".join(map(_try, reversed(tries))) or None)


async def _replay(asker: Asker, values: Values) -> Answer:
    row = await delivery.replay(values["delivery"], asker.principal, origin=asker.origin, asked_in=asker.channel)
    return Answer(f"Delivery {row.id} ({row.event}) is being sent again.", row.job_id)


def _line(row: Delivery) -> str:
    reason = wording.clip(row.last_error or f"it was answered with status {row.last_status}", _REASON_LIMIT)
    about = f" of job #{row.job_id}" if row.job_id else ""
    return f"{row.id}: {row.event}{about} was given up after {row.attempts} tries. {reason}"


def _try(attempt: DeliveryAttempt) -> str:
    answered = wording.clip(wording.one_line(attempt.answer or ""), _ANSWER_LIMIT)
    words = (wording.soon(attempt.at), attempt.status, attempt.error or "Taken.", answered)
    return "  ".join(str(word) for word in words if word)


COMMANDS = (
    Command("deliveries list", "shows the webhooks and notifications that were given up", _list, Role.ADMINISTER),
    Command("deliveries show", "shows what each try of one was answered", _show, Role.ADMINISTER, (_DELIVERY,)),
    Command("deliveries replay", "sends one of them again", _replay, Role.ADMINISTER, (_DELIVERY,)),
)
