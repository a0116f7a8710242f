"""Which repositories a principal may look at over HTTP. A grant limited to chat channels counts there only."""

from jobs.access import Principal, Role


def limited_to(principal: Principal, role: Role) -> frozenset[str] | None:
    """The names of the repositories on which the principal has `role`; None: on all of them, and on what has none."""
    if principal.may(role):
        return None
    grants = (grant for grant in principal.grants if grant.role >= role and grant.channels is None)
    return frozenset(name for grant in grants for name in grant.repositories or ())
