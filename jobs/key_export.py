"""Whether a repository's key has been exported: a lost key is a lost backup, whoever knows the passphrase."""

from functools import partial

from jobs import audit
from jobs.clock import now
from jobs.database.unit import unit
from jobs.models import Repository
from jobs.repositories import Asker

UNENCRYPTED = "none"


def is_due(repository: Repository) -> bool:
    """Whether it has a key that nobody has exported yet."""
    return repository.encryption != UNENCRYPTED and repository.key_exported_at is None


def reminder(name: str) -> str:
    """What people are told until it is done."""
    return f"The key of {name} was never exported, and a lost key is a lost backup: `locutus repo key-export {name}`."


async def note(asker: Asker, repository: Repository) -> None:
    """Keep that somebody has the key now."""
    await unit(partial(_note, asker, repository))


async def _note(asker: Asker, repository: Repository) -> None:
    await Repository.filter(id=repository.id).update(key_exported_at=now())
    await audit.record(asker.principal, "repository.key_export", origin=asker.origin, target=repository.name)
