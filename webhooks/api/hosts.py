"""Hosts: the machines whose workers run jobs, and whether they are heard of."""

from datetime import datetime

from pydantic import BaseModel

from jobs.access import Role
from jobs.hosts import is_silent
from jobs.models import Host
from webhooks.resource import Resource


class HostAnswer(BaseModel):
    """A host; `fingerprint` is its key's, `silent` says that its worker has not been heard of for 45 s."""

    id: int
    name: str
    last_seen_at: datetime | None
    silent: bool
    borg_version: str | None
    max_jobs: int
    fingerprint: str | None
    created_at: datetime


def present(row: Host) -> HostAnswer:
    """The row as it is answered."""
    return HostAnswer(
        id=row.id,
        name=row.name,
        last_seen_at=row.last_seen_at,
        silent=is_silent(row),
        borg_version=row.borg_version,
        max_jobs=row.max_jobs,
        fingerprint=row.data_directory_id,
        created_at=row.created_at,
    )


HOSTS = Resource("/api/hosts", "host", Host, HostAnswer, present, needs=Role.VIEW)

ROUTES = (HOSTS.listing(), HOSTS.reading())
