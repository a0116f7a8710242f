"""Hosts: a worker publishes its key under its host's name, and shows that it lives."""

from datetime import timedelta
from functools import partial

from jobs.clock import now
from jobs.database.unit import unit
from jobs.models import Host
from jobs.secrets import HostKey

SILENT_AFTER = timedelta(minutes=3)


class HostTakenError(Exception):
    """Another data directory has this host name: two machines under one name would judge each other's jobs."""


async def register(name: str, key: HostKey, *, max_jobs: int, borg_version: str | None, replace: bool = False) -> None:
    """Publish the host's public key; raises `HostTakenError` when the name belongs to another key and `replace` is not
    set.
    """
    await unit(partial(_register, name, key, {"max_jobs": max_jobs, "borg_version": borg_version}, replace=replace))


async def seen(name: str) -> None:
    """Note that the host's worker lives."""
    await Host.filter(name=name).update(last_seen_at=now())


def is_silent(host: Host) -> bool:
    """Whether nothing was heard of the host's worker for three minutes."""
    return host.last_seen_at is None or now() - host.last_seen_at > SILENT_AFTER


async def _register(name: str, key: HostKey, columns: dict[str, object], *, replace: bool) -> None:
    host, _ = await Host.get_or_create(name=name)
    if host.data_directory_id not in {None, key.id} and not replace:
        raise HostTakenError(
            f"The host name {name} belongs to another data directory ({host.data_directory_id}, this one is {key.id}). "
            f"Set LOCUTUS_HOST to another name, or start with --replace-host if this one takes over."
        )
    host.update_from_dict({**columns, "data_directory_id": key.id, "public_key": key.public, "last_seen_at": now()})
    await host.save()
