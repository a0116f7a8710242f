"""Who asks in chat, and what they are answered."""

from dataclasses import dataclass

from bot.card import Button
from jobs.access import Principal


@dataclass(frozen=True, slots=True)
class Asker:
    """Who typed a command, where, and the key under which a repetition of it is recognised.

    `timezone` is the IANA zone that the platform knows of them.
    """

    principal: Principal
    origin: str
    channel: str | None
    request_key: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the asker is told; `job_id` when a job came of it or was meant. `code` is text to show as it stands.

    `buttons` are what may be clicked under it; with `public` others in the channel must see it too, as one of them has
    to say yes.
    """

    text: str
    job_id: int | None = None
    code: str | None = None
    refused: bool = False
    buttons: tuple[Button, ...] = ()
    confirmation_id: int | None = None
    public: bool = False
