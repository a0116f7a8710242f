"""Channels, threads and messages as the imitation of Discord keeps them.

Pages named here are those of https://docs.discord.com/developers.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.discord_rules import Json

PERMISSIONS = {"view": 1 << 10, "send": 1 << 11, "embed": 1 << 14, "history": 1 << 16, "threads": 1 << 35,
               "send in threads": 1 << 38}  # fmt: skip
"""What a place may be without, by the name used here (topics/permissions#bitwise-permission-flags)."""


@dataclass(frozen=True)
class Call:
    """One call as it arrived; `at` is monotonic seconds, `status` what it was answered with (None: no answer)."""

    action: str
    path: str
    at: float
    body: Any
    status: int | None


@dataclass
class Posted:
    """A message; `edits` holds (monotonic seconds, content) of the post and of each edit."""

    id: str
    channel: str
    content: Json
    author: str
    nonce: str | None = None
    at: float = field(default_factory=time.monotonic)
    edits: list[tuple[float, Json]] = field(default_factory=list)

    @property
    def embed(self) -> Json:
        return dict(self.content["embeds"][0])

    @property
    def text(self) -> str:
        """All that it shows."""
        embed = self.embed
        facts = [f"{one['name']} {one['value']}" for one in embed.get("fields", ())]
        return "\n".join([embed.get("title", ""), embed.get("description", ""), *facts])

    @property
    def buttons(self) -> list[str]:
        """The custom_ids of its buttons."""
        return [button["custom_id"] for row in self.content.get("components", ()) for button in row["components"]]

    def as_json(self) -> Json:
        author = {"id": self.author, "username": "locutus", "bot": True, "discriminator": "0", "avatar": None}
        stamp = datetime.now(UTC).isoformat()
        return {"id": self.id, "channel_id": self.channel, "author": author, "timestamp": stamp, "type": 0,
                "content": "", "embeds": [], "components": [], **self.content}  # fmt: skip


@dataclass
class Place:
    """A channel or a thread."""

    id: str
    type: int = 0
    archived: bool = False
    missing: set[str] = field(default_factory=set)
    messages: list[Posted] = field(default_factory=list)
