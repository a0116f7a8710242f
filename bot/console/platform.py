"""The console: a chat platform kept in the database, so that Locutus runs without any account."""

from typing import Any

from tortoise.expressions import F

from bot.card import Message
from bot.console.content import stored
from bot.platform import MessageGone
from jobs.clock import now
from jobs.models import ConsoleMessage


class ConsolePlatform:
    """Posts and edits rows; an address is a row's id."""

    name = "console"

    async def post(self, channel: str, thread: str | None, message: Message) -> str:
        """Add the message to the channel, or to a thread of it."""
        row = await ConsoleMessage.create(
            channel=channel,
            thread_id=int(thread) if thread else None,
            content=stored(message),
            **_identity(message),
        )
        return str(row.id)

    async def edit(self, channel: str, address: str, message: Message) -> None:
        """Replace the message's content."""
        row = ConsoleMessage.filter(id=int(address), channel=channel)
        if not await row.update(content=stored(message), edits=F("edits") + 1, edited_at=now()):
            raise MessageGone(f"The console has no message {address} any more.")

    async def find(self, channel: str, thread: str | None, message: Message) -> str | None:
        """The message of the same job, or question, and part, if it was posted."""
        del thread
        row = await ConsoleMessage.filter(channel=channel, **_identity(message)).first()
        return str(row.id) if row else None

    async def delete(self, channel: str, address: str) -> None:
        """Take the message back."""
        await ConsoleMessage.filter(id=int(address), channel=channel).delete()


def _identity(message: Message) -> dict[str, Any]:
    """What tells the messages of all jobs and questions apart."""
    return {"job_id": message.job_id, "confirmation_id": message.confirmation_id, "part": message.part}
