"""Which of the user groups that hold a role somebody is in. Slack is asked off the way of the acknowledgement.

https://docs.slack.dev/reference/methods/usergroups.users.list (`usergroups:read`; tier 2, about 20 calls a minute).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from bot.platform import ChatError
from jobs.database.unit import reader
from jobs.models import RoleBinding

FRESH_S = 300.0
FIRST_WAIT_S = 1.0
"""How long somebody waits for the members of a group that was never asked for: well under Slack's three seconds."""

ReadMembers = Callable[[str], Awaitable[frozenset[str]]]
"""The members of a user group by its id; raises `ChatError`."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Group:
    members: frozenset[str] = frozenset()
    read_at_s: float | None = None
    reading: "asyncio.Task[None] | None" = field(default=None)


class UserGroups:
    """Memberships as they were within the last minutes; a group whose members can't be read has none."""

    def __init__(self, read_members: ReadMembers) -> None:
        self._read_members = read_members
        self._groups: dict[str, _Group] = {}

    async def subjects_of(self, team: str, user: str) -> list[str]:
        """`slack:TEAM:usergroup:ID` of each group that holds a role and has this user as a member."""
        prefix = f"slack:{team}:usergroup:"
        bound = RoleBinding.filter(subject__startswith=prefix).using_db(reader())
        names: Any = await bound.distinct().values_list("subject", flat=True)
        return [name for name in names if user in await self._members(name.removeprefix(prefix))]

    async def close(self) -> None:
        """End what is being read."""
        reading = [group.reading for group in self._groups.values() if group.reading]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    async def _members(self, group_id: str) -> frozenset[str]:
        group = self._groups.setdefault(group_id, _Group())
        if group.read_at_s is None or time.monotonic() - group.read_at_s > FRESH_S:
            if group.reading is None or group.reading.done():
                group.reading = asyncio.create_task(self._read(group_id, group))
            if group.read_at_s is None:
                await asyncio.wait({group.reading}, timeout=FIRST_WAIT_S)
        return group.members

    async def _read(self, group_id: str, group: _Group) -> None:
        try:
            group.members = await self._read_members(group_id)
        except ChatError as error:
            _log.warning("slack_user_group_unreadable", group=group_id, reason=str(error))
        else:
            group.read_at_s = time.monotonic()
