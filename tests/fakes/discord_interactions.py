"""What Discord sends when somebody does something, as it signs it.

Pages named here are those of https://docs.discord.com/developers.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from nacl.signing import SigningKey

from tests.fakes.discord_rules import Json

GUILD, CHANNEL, USER, ROLE, APPLICATION, BOT = "100", "200", "300", "400", "500", "500"


@dataclass
class Asked:
    """An interaction that was sent, and how it was answered."""

    payload: Json
    at: float = field(default_factory=time.monotonic)
    responses: list[Json] = field(default_factory=list)
    edited: list[Json] = field(default_factory=list)


def interaction(number: str, kind: int, data: Json | None, **changes: Any) -> Json:
    """interactions/receiving-and-responding#interaction-object"""
    user, roles = changes.pop("user", USER), changes.pop("roles", [])
    channel = changes.pop("channel", {"id": CHANNEL, "type": 0})
    member = {"user": {"id": user, "username": "anna", "discriminator": "0", "avatar": None}, "roles": roles,
              "joined_at": "2020-01-01T00:00:00+00:00", "deaf": False, "mute": False, "permissions": "0",
              "flags": 0}  # fmt: skip
    return {"id": number, "application_id": APPLICATION, "type": kind, "token": f"token-{number}", "version": 1,
            "guild_id": GUILD, "guild": {"id": GUILD, "locale": "en-US", "features": []},
            "channel_id": channel["id"], "channel": channel, "member": member, "locale": "en-US",
            "app_permissions": "0", "entitlements": [], "authorizing_integration_owners": {"0": GUILD},
            "context": 0, "attachment_size_limit": 10_485_760, **({"data": data} if data else {}),
            **changes}  # fmt: skip


def command_data(commands: list[Json], name: str, focused: str | None, options: Json) -> Json:
    """interactions/application-commands#slash-commands-example-interaction, of what is registered."""
    words = name.split()
    (node,) = [command for command in commands if command["name"] == "backup"]
    for word in words:
        (node,) = [option for option in node["options"] if option["name"] == word]
    known = {option["name"]: option for option in node.get("options", ())}
    lacking = [key for key, option in known.items() if option.get("required") and key not in options]
    assert focused or not lacking, f"Discord would not send it without {lacking}"
    sent = [_option(known[key], value, is_focused=focused == key) for key, value in options.items()]
    data: Json = {"type": 1, "name": words[-1], "options": sent}
    if len(words) == 2:
        data = {"type": 2, "name": words[0], "options": [data]}
    return {"id": "1", "name": "backup", "type": 1, "options": [data]}


def sign(key: SigningKey, body: bytes, timestamp: int | None = None) -> dict[str, str]:
    """The headers of a request of Discord's (interactions/overview#setting-up-an-endpoint)."""
    sent_at = str(int(time.time()) if timestamp is None else timestamp)
    signature = key.sign(sent_at.encode() + body).signature.hex()
    return {"Content-Type": "application/json", "X-Signature-Timestamp": sent_at, "X-Signature-Ed25519": signature}


def _option(known: Json, value: Any, *, is_focused: bool) -> Json:
    """The client checks types before anything is sent (…application-commands#application-command-object)."""
    types = {3: str, 4: int, 5: bool, 10: (int, float)}
    assert is_focused or isinstance(value, types[known["type"]]), f"Discord would not send {value!r} as {known['name']}"
    if known.get("choices"):
        assert value in [choice["value"] for choice in known["choices"]]
    assert not is_focused or known.get("autocomplete")
    return {"type": known["type"], "name": known["name"], "value": value, **({"focused": True} if is_focused else {})}
