"""One message on a platform: its row is claimed, the platform is called, and the row says what came of it.

Who finds its claim gone after the call undoes it, so that there is one message with the last state, however many
workers there are and whenever they die.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from tortoise.expressions import Q

from bot.card import Message
from bot.platform import ChatError, ChatPlatform, MessageGone, Refused
from jobs.clock import now
from jobs.models.chat import PostedMessage

CLAIM = timedelta(seconds=45)
LONGEST_CLAIM = 2 * CLAIM
"""A claim that lasts longer than this, however much the clocks of two workers differ, was made before the clock was
set back: it counts as run out.
"""
FAILURE_DELAY_S = 5.0
LONGEST_DELAY_S = 300.0
UNPOSTED = {"state": "unsent", "address": None, "shown_digest": None}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message as it should be, and a digest that tells it from any other."""

    message: Message
    digest: str


def as_wanted(message: Message) -> Wanted:
    """The message with its digest."""
    return Wanted(message, hashlib.sha256(repr(message).encode()).hexdigest())


async def show(platform: ChatPlatform, row: PostedMessage, content: Wanted, thread: str | None, *, final: bool) -> bool:
    """Post or edit the message, under `thread` if given; False when somebody else is at it.

    Raises `ChatError`, once the row says what is known after it.
    """
    held = await claim(row)
    if held is None:
        return False
    try:
        address = await _called(platform, row, content, thread)
        await _record(platform, row, held, address, content, final=final)
    except ChatError as error:
        await _record_failure(row, held, error)
        raise
    return True


def delay_s(error: ChatError, failures: int) -> float:
    """How long to wait after an error, of which there were `failures` before."""
    return error.retry_after_s or min(LONGEST_DELAY_S, FAILURE_DELAY_S * 2 ** min(failures, 10))


async def claim(row: PostedMessage) -> str | None:
    """Take the row for one call; None when somebody else has it. A first post is `sending` from here on.

    A claim is never taken back, it only runs out: who has read the row before the last claim can't take it any more.
    """
    taken_as = secrets.token_hex(16)
    rows = type(row).filter(id=row.id)
    observed = rows.filter(claim=row.claim) if row.claim else rows.filter(claim__isnull=True)
    if row.claim and row.claimed_until and timedelta() < row.claimed_until - now() <= LONGEST_CLAIM:
        return None
    state = "sent" if row.address else "sending"
    taken = await observed.update(claim=taken_as, claimed_until=now() + CLAIM, state=state)
    return taken_as if taken else None


async def _called(platform: ChatPlatform, row: PostedMessage, content: Wanted, thread: str | None) -> str:
    address = row.address
    if address is None and row.state == "sending":
        address = await platform.find(row.channel, thread, content.message)
    if address is None:
        return await platform.post(row.channel, thread, content.message)
    await platform.edit(row.channel, address, content.message)
    return address


async def _record(
    platform: ChatPlatform, row: PostedMessage, held: str, address: str, content: Wanted, *, final: bool
) -> None:
    rows = type(row).filter(id=row.id)
    mine = rows.filter(Q(address__isnull=True) | Q(address=address))
    recorded = await mine.filter(claim=held).update(
        state="sent",
        address=address,
        shown_digest=content.digest,
        settled=final,
        claimed_until=now(),
        failures=0,
    )
    # Somebody took the row meanwhile: of several posts the first that is recorded stays, with the newest state yet
    # to be shown by it.
    if not recorded and not await mine.update(state="sent", address=address, shown_digest=None, settled=False):
        await platform.delete(row.channel, address)
        await rows.filter(claim=held).update(claimed_until=now(), shown_digest=None, settled=False)


async def _record_failure(row: PostedMessage, held: str, error: ChatError) -> None:
    columns: dict[str, object] = {"claimed_until": now(), "failures": row.failures + 1}
    if isinstance(error, Refused):
        columns["state"] = "refused"
    elif isinstance(error, MessageGone):
        columns |= UNPOSTED
    elif error.retry_after_s is not None and row.state == "unsent":
        columns["state"] = "unsent"  # the platform took nothing, so there is nothing to look for
    await type(row).filter(id=row.id, claim=held).update(**columns)
