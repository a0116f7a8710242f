"""Adding, changing and removing repositories; every way in (API, command line, chat) ends here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tortoise.exceptions import IntegrityError

from jobs import audit, queue
from jobs.access import Principal, Role
from jobs.clock import now
from jobs.database.unit import after_commit, unit
from jobs.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from jobs.lanes import lane_at
from jobs.models import Hook, Host, Job, NotificationChannel, Repository, RoleBinding, Subscription
from jobs.remote_fields import follow_move, require_ssh, trusted_key
from jobs.repository_fields import PASSPHRASE_SOURCES, NewRepository, RepositoryChange, archive_glob_of, lane_of
from jobs.secrets import seal
from jobs.submit import JobRequest, accept_within
from jobs.view import JobStatus

T = TypeVar("T")

ACTIVE = (JobStatus.PENDING, JobStatus.RUNNING)
WHERE_IT_IS = frozenset({"name", "location", "host"})
NOTHING_SAID: Mapping[str, Any] = {
    "overdue_since": None,
    "overdue_told_at": None,
    "overdue_snoozed_until": None,
    "overdue_acknowledged_by": None,
}
"""Of a backup that is overdue."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants it, and from where; `asked_in` is the channel, for roles that are limited to channels."""

    principal: Principal
    origin: str
    asked_in: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A new repository, and the job that makes it where it was to be made."""

    repository: Repository
    init_job: Job | None


async def add(asker: Asker, new: NewRepository, *, default_host: str) -> Added:
    """Add a repository; with `init`, accept the job that makes it. Raises a `RequestRefusedError` with a sentence."""
    asker.principal.require(Role.ADMINISTER)
    host = new.host or default_host
    _may_give(asker.principal, new)
    columns = new.model_dump(exclude={"init", "passphrase"}) | {
        "host": host,
        "encryption": _encryption(new),
        "lane": await lane_at(new.location, host),
        "archive_glob": archive_glob_of(new.archive_name_template, new.name),
    }
    columns |= _passphrase_columns(_sources(new))
    require_ssh(new.location, columns)
    # Who says that it is not encrypted has answered what borg would ask; a new one is known to borg from its start.
    columns["accepted_location"] = new.location  # who adds it says where it is
    columns["accepts_unencrypted"] = new.encryption == "none" or new.init
    columns["host_key"] = new.host_key or await trusted_key(new.location)
    return await _named_once(new.name, partial(_create, asker, columns, init=new.init))


async def change(asker: Asker, repository: Repository, wanted: RepositoryChange) -> Repository:
    """Change the fields given; raises a `RequestRefusedError` with a sentence, and then nothing was changed."""
    asker.principal.require(Role.ADMINISTER)
    _may_give(asker.principal, wanted)
    return await _named_once(wanted.name, partial(_change, asker, repository.id, wanted))


async def remove(asker: Asker, repository: Repository) -> None:
    """Forget a repository and its archives' figures; the repository itself stays where it is."""
    asker.principal.require(Role.ADMINISTER)
    await unit(partial(_remove, asker, repository.id))


async def _create(asker: Asker, columns: Mapping[str, Any], *, init: bool) -> Added:
    row = Repository(**columns)
    await _seal(row)
    await row.save()
    await _record(asker, "add", row, location=row.location)
    after_commit(partial(queue.wake_host, row.host))  # a repository behind ssh gets its key there
    request = JobRequest("repository_init", asker.principal, asker.origin, row.name)
    return Added(row, await accept_within(request) if init else None)


async def _change(asker: Asker, repository_id: int, wanted: RepositoryChange) -> Repository:
    row = await locked(repository_id)
    given = {name: value for name, value in wanted.given().items() if name not in PASSPHRASE_SOURCES}
    moved = sorted(name for name in WHERE_IT_IS & given.keys() if given[name] != getattr(row, name))
    if moved:
        await _idle(row, f"its {' and '.join(moved)} can't change")
    _keeps_passphrase(row, wanted)
    old_name, old_place = row.name, lane_of(row.location, row.host)
    before = row.clone(pk=row.id)
    row.update_from_dict(given | _passphrase_columns(_sources(wanted)))
    require_ssh(row.location, given)
    await follow_move(row, before, given)
    if lane_of(row.location, row.host) != old_place:
        row.borg_id, row.lane = None, await lane_at(row.location, row.host)
        row.accepts_unencrypted = given.get("encryption") == "none"
    row.archive_glob = archive_glob_of(row.archive_name_template, row.name)
    if wanted.passphrase is not None:
        await _seal(row)
    if row.check_interval_days != before.check_interval_days:
        row.check_interval_since = now()
    if row.expected_every is None:
        row.update_from_dict(dict(NOTHING_SAID))
    await row.save()
    touched = await _rename_in_lists(old_name, row.name) if row.name != old_name else {}
    await _record(asker, "change", row, fields=sorted(wanted.model_fields_set), **touched)
    return row


async def _remove(asker: Asker, repository_id: int) -> None:
    row = await locked(repository_id)
    await _idle(row, "it can't be removed")
    touched = await _rename_in_lists(row.name, None)
    await row.delete()
    await _record(asker, "remove", row, location=row.location, **touched)


async def _rename_in_lists(name: str, new_name: str | None) -> dict[str, list[int]]:
    """Rename a repository, or with None take it out, wherever it is named; returns what to audit: the bindings' ids.

    Else whoever was granted something on it would have that on a later repository of the name. An empty list stays one:
    None means all.
    """
    touched = []
    for row in await RoleBinding.filter(repositories__isnull=False).order_by("id").select_for_update():
        if name in (names := row.repositories or []):
            touched.append(row.id)
            row.repositories = _renamed(names, name, new_name)
            await (row.save(update_fields=["repositories"]) if row.repositories else row.delete())
    for table in (Subscription, NotificationChannel):
        for listener in await table.filter(repositories__isnull=False).order_by("id").select_for_update():
            if name in (names := listener.repositories or []):
                listener.repositories = _renamed(names, name, new_name)
                await listener.save(update_fields=["repositories"])
    await Hook.filter(repository_name=name).update(repository_name=new_name)
    return {"role_bindings": touched} if touched else {}


def _renamed(names: list[str], name: str, new_name: str | None) -> list[str]:
    renamed = (new_name if each == name else each for each in names)
    return [each for each in renamed if each is not None]


async def _record(asker: Asker, verb: str, row: Repository, **detail: Any) -> None:
    await audit.record(asker.principal, f"repository.{verb}", origin=asker.origin, target=row.name, **detail)


async def locked(repository_id: int) -> Repository:
    """Inside a unit: the row, until its end nobody else's to change; raises `NotFoundError`."""
    # A job that is being accepted meanwhile holds a key lock on this row (PostgreSQL): one of the two waits.
    row = await Repository.filter(id=repository_id).select_for_update().first()
    if row is None:
        raise NotFoundError(f"There is no repository {repository_id} any more.")
    return row


async def _idle(repository: Repository, consequence: str) -> None:
    active = await Job.filter(repository_id=repository.id, status__in=ACTIVE).order_by("id").first()
    if active:
        job = f"the {active.status} job #{active.id}"
        raise ConflictError(f"{repository.name} has {job}: until it has ended {consequence}.")


async def _named_once(name: str, work: Callable[[], Awaitable[T]]) -> T:
    try:
        return await unit(work)
    except IntegrityError as error:
        raise ConflictError(f"There is a repository called {name} already. Choose another name.") from error


async def _seal(row: Repository) -> None:
    """Replace the passphrase in the row by what only its host can read."""
    if row.passphrase is None:
        return
    host = await Host.get_or_none(name=row.host)
    if host is None or host.public_key is None:
        raise InvalidRequestError(
            "passphrase",
            f"the host {row.host} has not reported yet, so its key is not known. Start its worker first "
            f"(`locutus worker --host {row.host}`), or name a file on it as passphrase_file.",
        )
    row.passphrase = seal(row.passphrase, host.public_key)


def _may_give(principal: Principal, fields: NewRepository | RepositoryChange) -> None:
    if fields.passphrase_command is not None and not principal.local:
        raise ForbiddenError(
            "A passphrase_command runs on the repository's host: it can only be set there, "
            "by `locutus repo add … --passphrase-command`."
        )


def _encryption(new: NewRepository) -> str:
    if new.init and new.encryption is None and not new.passphrase_given:
        raise InvalidRequestError("encryption", "say which mode the new repository shall have, such as repokey-blake2.")
    encryption = new.encryption or ("repokey-blake2" if new.passphrase_given else "none")
    if new.init and encryption != "none" and not new.passphrase_given:
        raise InvalidRequestError("passphrase", f"{encryption} needs one. Give passphrase or passphrase_file.")
    return encryption


def _sources(fields: NewRepository | RepositoryChange) -> dict[str, Any]:
    """The ways to the passphrase that were said, in the clear; None takes one away."""
    said = {name: getattr(fields, name) for name in PASSPHRASE_SOURCES if name in fields.model_fields_set}
    if sum(value is not None for value in said.values()) > 1:
        raise InvalidRequestError("passphrase", f"give one of {', '.join(PASSPHRASE_SOURCES)}.")
    if secret := said.get("passphrase"):
        said["passphrase"] = secret.get_secret_value()
    return said


def _passphrase_columns(said: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that change: a way that is given replaces every other."""
    if any(value is not None for value in said.values()):
        return dict.fromkeys(PASSPHRASE_SOURCES) | dict(said)
    return dict(said)


def _keeps_passphrase(row: Repository, wanted: RepositoryChange) -> None:
    host = wanted.given().get("host", row.host)
    if host != row.host and row.passphrase and not (wanted.model_fields_set & set(PASSPHRASE_SOURCES)):
        raise InvalidRequestError(
            "passphrase", f"give it again: it is sealed to {row.host}, and {host} could not read it."
        )
