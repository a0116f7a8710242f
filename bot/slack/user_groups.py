"""Which of the user groups that hold a role somebody is in. Slack is asked off the way of the acknowledgement.

https://docs.slack.dev/reference/methods/usergroups.users.list (`usergroups:read`; tier 2, about 20 calls a minute).
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

import structlog

from bot.platform import ChatError
from jobs.database.unit import reader
from jobs.models import RoleBinding

GOOD_FOR_S = 300.0
REREAD_AFTER_S = 150.0
"""From this age on members are read anew, behind the answer to whoever asks: nobody waits for it."""
ASK_AGAIN_AFTER_S = 60.0
"""How long a group that can't be read is left alone."""
WAIT_S = 1.0
"""How long somebody waits for all members that are not known any more: well under Slack's three seconds."""

ReadMembers = Callable[[str], Awaitable[frozenset[str]]]
"""The members of a user group by its id; raises `ChatError`."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Group:
    id: str
    members: frozenset[str] = frozenset()
    read_at_s: float = -math.inf
    asked_at_s: float = -math.inf
    reading: "asyncio.Task[None] | None" = None

    def is_good(self, at_s: float) -> bool:
        return at_s - self.read_at_s <= GOOD_FOR_S

    def is_to_be_read(self, at_s: float) -> bool:
        idle = self.reading is None or self.reading.done()
        return idle and at_s - self.read_at_s > REREAD_AFTER_S and at_s - self.asked_at_s > ASK_AGAIN_AFTER_S


class UserGroups:
    """Memberships as they were within the last minutes; a group whose members can't be read has none."""

    def __init__(self, read_members: ReadMembers, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read_members = read_members
        self._monotonic = monotonic
        self._groups: dict[str, _Group] = {}

    async def subjects_of(self, team: str, user: str) -> list[str]:
        """`slack:TEAM:usergroup:ID` of each group that holds a role and has this user as a member."""
        prefix = f"slack:{team}:usergroup:"
        bound = RoleBinding.filter(subject__startswith=prefix).using_db(reader())
        names: Any = await bound.distinct().values_list("subject", flat=True)
        groups = {name: self._groups.setdefault(name, _Group(name.removeprefix(prefix))) for name in names}
        await self._read_unknown(groups.values())
        at_s = self._monotonic()
        return [name for name, group in groups.items() if group.is_good(at_s) and user in group.members]

    async def close(self) -> None:
        """End what is being read."""
        reading = [group.reading for group in self._groups.values() if group.reading]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    async def _read_unknown(self, wanted: Collection[_Group]) -> None:
        """Have old members read anew, all at once, and wait a moment for those that are too old to go by."""
        at_s = self._monotonic()
        for group in wanted:
            if group.is_to_be_read(at_s):
                group.asked_at_s = at_s
                group.reading = asyncio.create_task(self._read(group))
        unknown = {group.reading for group in wanted if group.reading and not group.is_good(at_s)}
        if unknown:
            await asyncio.wait(unknown, timeout=WAIT_S)

    async def _read(self, group: _Group) -> None:
        try:
            group.members = await self._read_members(group.id)
        except ChatError as error:
            _log.warning("slack_user_group_unreadable", group=group.id, reason=str(error))
        else:
            group.read_at_s = group.asked_at_s
