"""What is said of a repository behind ssh, and what of it ends when the repository moves."""

from collections.abc import Mapping
from typing import Any

from jobs.errors import ConflictError, InvalidRequestError
from jobs.models import Repository
from jobs.ssh import authorized_keys_line, ssh_place

SSH_FIELDS = ("ssh_key", "host_key", "remote_path", "upload_ratelimit")


def require_ssh(location: str, given: Mapping[str, Any]) -> None:
    """Raise `InvalidRequestError` where something is said of ssh and the location has none."""
    said = next((field for field in SSH_FIELDS if given.get(field) is not None), None)
    if said and ssh_place(location) is None:
        raise InvalidRequestError(said, f"{location} is not behind ssh. Leave it out, or give an ssh:// location.")


async def trusted_key(location: str) -> str | None:
    """The fingerprint by which the location's server is trusted already, for another repository; None without one."""
    if (place := ssh_place(location)) is None:
        return None
    known = await Repository.filter(host_key__isnull=False).order_by("-id").values_list("location", "host_key")
    servers = ((ssh_place(str(other)), str(host_key)) for other, host_key in known)
    return next((host_key for other, host_key in servers if other and other.server == place.server), None)


async def follow_move(row: Repository, before: Repository, given: Mapping[str, Any]) -> None:
    """Forget of a changed row what was true of the server, host or key that it had before."""
    old, new = ssh_place(before.location), ssh_place(row.location)
    if "host_key" not in given and (old and old.server) != (new and new.server):
        row.update_from_dict({"host_key": await trusted_key(row.location)})
    if new is None:
        row.update_from_dict(dict.fromkeys(SSH_FIELDS))
    if new is None or (row.host, row.ssh_key) != (before.host, before.ssh_key):
        row.update_from_dict({"ssh_public_key": None})


def authorized_keys(row: Repository) -> str:
    """The line for the server's `authorized_keys`; raises `ConflictError` where there is no key, or none yet."""
    place = ssh_place(row.location)
    if place is None:
        raise ConflictError(f"{row.name} at {row.location} is not behind ssh: it needs no key.")
    if row.ssh_public_key is None:
        raise ConflictError(
            f"The key of {row.name} is not made yet: the worker of {row.host} does it within a minute. Ask again then."
        )
    return authorized_keys_line(place, row.ssh_public_key)
