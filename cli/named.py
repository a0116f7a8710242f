"""Finding by name what the API knows by number."""

from typing import Any

from cli.api_client import Api, ApiError
from jobs.types import JOB_TYPES


async def named(client: Api, path: str, name: str, *, noun: str, group: str) -> dict[str, Any]:
    """The row of that name in the collection at `path`; raises `ApiError`, which names `locutus GROUP list`."""
    found = next((row for row in await client.items(path) if row["name"] == name), None)
    if found is None:
        raise ApiError(f"There is no {noun} {name}. `locutus {group} list` shows those there are.")
    return dict(found)


def place_field(kind: str) -> str:
    """What REPO names for a kind of job, the field of its request; of kinds that are not known here a repository."""
    return "host" if kind in JOB_TYPES and not JOB_TYPES[kind].needs_repository else "repository"
