"""The port to a chat platform: four calls, and errors that say what to do next."""

from typing import Protocol

from bot.card import Message


class ChatError(Exception):
    """A call to a chat platform failed and is worth repeating, not before `retry_after_s` seconds.

    `everywhere` says whether all calls have to wait as long, or only those to the same place.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None, everywhere: bool = True) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.everywhere = everywhere


class MessageGone(ChatError):
    """The message to edit does not exist any more or can't be edited: post it anew, once."""


class Refused(ChatError):
    """The platform takes nothing until a person changes something."""


class ChannelRefused(Refused):
    """It takes no messages for this channel, and may take them for another."""


class AccountRefused(Refused):
    """It takes none for any channel: the token, its scopes or the app are to be mended, and all stays where it is."""


class ChatPlatform(Protocol):
    """Posts and edits messages; a message's address is the platform's own id of it."""

    name: str

    async def post(self, channel: str, thread: str | None, message: Message) -> str:
        """Post into `channel`, under the root message `thread` if given; returns the new message's address."""

    async def edit(self, channel: str, address: str, message: Message) -> None:
        """Replace the content of a message of ours."""

    async def find(self, channel: str, thread: str | None, message: Message) -> str | None:
        """The address of a message for the same job and part that an interrupted call may have posted; None if there
        is none.
        """

    async def delete(self, channel: str, address: str) -> None:
        """Take back a message of ours; one that is gone already is no error."""
