"""Who asks in chat, and what they are answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot.card import Button
from jobs.access import Principal


@dataclass(frozen=True, slots=True)
class Asker:
    """Who typed a command, where, and the key under which a repetition of it is recognised."""

    principal: Principal
    origin: str
    channel: str | None
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the asker is told; `job_id` when a job came of it or was meant. `code` is text to show as it stands.

    `buttons` are what may be clicked under it. `moments` are times that stand in the text, by how they are written
    there: a face that can shows each reader their own clock instead.
    """

    text: str
    job_id: int | None = None
    code: str | None = None
    refused: bool = False
    buttons: tuple[Button, ...] = ()
    confirmation_id: int | None = None
    moments: Mapping[str, datetime] = field(default_factory=dict)
