"""What the bot may do in a channel: the server's word, then the channel's, the narrowest last."""

import pytest

from bot.discord.permissions import NEEDED, missing


def overwrite(subject, *, allow=0, deny=0):
    return {"id": subject, "allow": str(allow), "deny": str(deny)}


ALL = sum(NEEDED.values())
VIEW = NEEDED["View Channel"]


@pytest.mark.parametrize(
    ("everybody", "role", "overwrites", "lacking"),
    [
        (ALL, 0, [], []),
        (0, ALL, [], []),
        (0, 1 << 3, [overwrite("bot", deny=ALL)], []),
        (ALL & ~VIEW, 0, [], ["View Channel"]),
        (ALL, 0, [overwrite("guild", deny=VIEW)], ["View Channel"]),
        (ALL, 0, [overwrite("guild", deny=VIEW), overwrite("role", allow=VIEW)], []),
        (ALL, 0, [overwrite("role", allow=VIEW), overwrite("bot", deny=VIEW)], ["View Channel"]),
        (ALL, 0, [overwrite("another", deny=VIEW)], []),
    ],
)
def test_permissions_are_those_of_the_narrowest_rule(everybody, role, overwrites, lacking):
    guild = {"id": "guild", "roles": [{"id": "guild", "permissions": str(everybody)}]}
    guild["roles"].append({"id": "role", "permissions": str(role)})
    member = {"user": {"id": "bot"}, "roles": ["role"]}
    assert missing(guild, member, {"permission_overwrites": overwrites}) == lacking
