"""Messages as the console stores them: JSON, read back as what they were."""

from typing import Any

from pydantic import TypeAdapter

from bot.card import Message

_MESSAGES = TypeAdapter(Message)


def stored(message: Message) -> dict[str, Any]:
    """The message as JSON values."""
    return dict(_MESSAGES.dump_python(message, mode="json"))


def restored(content: dict[str, Any]) -> Message:
    """The message that `stored` was given."""
    return _MESSAGES.validate_python(content)
