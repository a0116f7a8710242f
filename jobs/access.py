"""Who may: roles, the subjects that hold them, and the one question asked of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

from jobs.database.unit import reader
from jobs.errors import ForbiddenError
from jobs.models import RoleBinding


class Role(IntEnum):
    """What a subject may do; each role includes those below it."""

    VIEW = 1
    OPERATE = 2
    ADMINISTER = 3

    @classmethod
    def named(cls, name: str) -> "Role":
        """The role called `view`, `operate` or `administer`; raises `KeyError`."""
        return cls[name.upper()]

    @property
    def word(self) -> str:
        """The role's name as people write it."""
        return self.name.lower()


ROLE_NAMES = tuple(role.word for role in Role)


@dataclass(frozen=True, slots=True)
class Grant:
    """One role, limited to repositories or channels (None: all)."""

    role: Role
    repositories: Sequence[str] | None = None
    channels: Sequence[str] | None = None

    def covers(self, role: Role, repository: str | None, channel: str | None) -> bool:
        """Whether this grant allows `role` on `repository` when asked in `channel`."""
        return (
            self.role >= role
            and (self.repositories is None or repository in self.repositories)
            and (self.channels is None or channel in self.channels)
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated asker: the platform's own ids in `subject`, never a display name.

    `local` is someone at this host's command line with access to the data directory.
    """

    subject: str
    grants: tuple[Grant, ...]
    local: bool = False

    def may(self, role: Role, repository: str | None = None, channel: str | None = None) -> bool:
        """Whether any grant allows it."""
        return any(grant.covers(role, repository, channel) for grant in self.grants)

    def may_anything(self, channel: str | None = None) -> bool:
        """Whether any grant allows anything on any repository when asked in `channel`."""
        return any(
            grant.covers(Role.VIEW, repository, channel)
            for grant in self.grants
            for repository in grant.repositories or (None,)
        )

    def limited_to(self, role: Role, channel: str | None = None) -> frozenset[str] | None:
        """The names of the repositories on which any grant allows `role` when asked in `channel`.

        None: on all of them, and on what has none.
        """
        if self.may(role, None, channel):
            return None
        grants = (grant for grant in self.grants if grant.role >= role)
        here = (grant for grant in grants if grant.channels is None or channel in grant.channels)
        return frozenset(name for grant in here for name in grant.repositories or ())

    def require(self, role: Role, repository: str | None = None, channel: str | None = None) -> None:
        """Raise `ForbiddenError`, which names the exact command that an administrator would run, unless allowed.

        The command grants no more than was asked for: with a `repository`, the role on that one alone.
        """
        if self.may(role, repository, channel):
            return
        on, limit = (f" on {repository}", f" --repository {repository}") if repository else ("", "")
        raise ForbiddenError(
            f"You need the role {role.word}{on} for this. "
            f"An administrator can grant it: `locutus grant {self.subject} {role.word}{limit}`"
        )


def everywhere(subject: str, role: Role, *, local: bool = False) -> Principal:
    """A principal with one unlimited grant."""
    return Principal(subject, (Grant(role),), local=local)


async def chat_principal(subject: str, memberships: Collection[str] = ()) -> Principal:
    """The person behind a chat subject such as `slack:T1:U1`, with the bound roles; none bound means no rights.

    `memberships` are the groups and roles that they have on the platform, as subjects: their roles count too.
    """
    bindings = await RoleBinding.filter(subject__in=[subject, *memberships]).using_db(reader())
    grants = (Grant(Role.named(row.role), row.repositories, row.channels) for row in bindings)
    return Principal(subject, tuple(grants))
