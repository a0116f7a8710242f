"""What the bot may do in a channel, from what Discord says of server, member and channel. Pure.

https://docs.discord.com/developers/topics/permissions#permission-overwrites
"""

from collections.abc import Iterable, Mapping
from typing import Any

NEEDED: Mapping[str, int] = {
    "View Channel": 1 << 10,
    "Send Messages": 1 << 11,
    "Embed Links": 1 << 14,
    "Read Message History": 1 << 16,
    "Create Public Threads": 1 << 35,
    "Send Messages in Threads": 1 << 38,
}
"""What a card and its thread take, as Discord's settings call it."""
_ADMINISTRATOR = 1 << 3
_EVERYTHING = ~0

Json = Mapping[str, Any]


def missing(guild: Json, member: Json, channel: Json) -> list[str]:
    """The permissions that the member lacks in the channel, of those that are needed."""
    held = _held(guild, member, channel)
    return [name for name, bit in NEEDED.items() if not held & bit]


def _held(guild: Json, member: Json, channel: Json) -> int:
    """The server's for everybody and for the roles; then what the channel takes and gives, the narrowest last."""
    roles = {guild["id"], *member["roles"]}
    held = 0
    for role in guild["roles"]:
        held |= int(role["permissions"]) if role["id"] in roles else 0
    if held & _ADMINISTRATOR:
        return _EVERYTHING
    overwrites = {overwrite["id"]: overwrite for overwrite in channel.get("permission_overwrites") or ()}
    for layer in ([guild["id"]], member["roles"], [member["user"]["id"]]):
        held = _overwritten(held, [overwrites[subject] for subject in layer if subject in overwrites])
    return held


def _overwritten(held: int, overwrites: Iterable[Json]) -> int:
    """All that one layer takes away, and then all that it gives."""
    denied = allowed = 0
    for overwrite in overwrites:
        denied |= int(overwrite["deny"])
        allowed |= int(overwrite["allow"])
    return held & ~denied | allowed
