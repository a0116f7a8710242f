"""Repositories over HTTP: what is answered of a row (never a passphrase), and the five routes."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict
from tortoise.functions import Count

from jobs.access import Role
from jobs.borg.environment import Question
from jobs.borg_questions import accept
from jobs.database.unit import reader
from jobs.errors import NotFoundError
from jobs.key_export import is_due
from jobs.models import Archive, Repository
from jobs.remote_fields import authorized_keys
from jobs.repositories import Asker, add, change, remove
from jobs.repository_fields import PASSPHRASE_SOURCES, NewRepository, RepositoryChange
from webhooks.api.made import made
from webhooks.page import Page, PageQuery, page
from webhooks.route import Answer, Call, Plain, Route

COLLECTION, ONE = "/api/repositories", "/api/repositories/{repo}"
DERIVED = frozenset({"key_export_due", "archives", "passphrase_from", "init_job_id"})


class RepositoryAnswer(BaseModel):
    """A repository. `size` is bytes, times are UTC; `passphrase_from` names the way to the passphrase; `host_key` is
    the fingerprint by which a server is trusted, `upload_ratelimit` KiB/s.
    """

    id: int
    name: str
    location: str
    source_directories: list[str]
    exclude_patterns: list[str]
    compression: str
    encryption: str
    host: str
    channel: str | None
    passphrase_from: str | None
    passphrase_file: str | None
    ssh_key: str | None
    ssh_public_key: str | None
    host_key: str | None
    key_exported_at: datetime | None
    key_export_due: bool
    remote_path: str | None
    upload_ratelimit: int | None
    archive_name_template: str
    archive_glob: str
    last_backup: datetime | None
    last_check: datetime | None
    last_compact: datetime | None
    last_prune: datetime | None
    check_interval_days: int | None
    check_max_duration: int | None
    expected_every: int | None
    overdue_since: datetime | None
    overdue_snoozed_until: datetime | None
    overdue_acknowledged_by: str | None
    archives: int
    size: int | None
    created_at: datetime
    init_job_id: int | None = None


async def present(rows: Sequence[Repository]) -> list[RepositoryAnswer]:
    """The rows with the number of their archives."""
    ids = [row.id for row in rows]
    counted = Archive.filter(repository_id__in=ids).using_db(reader()).annotate(archives=Count("id"))
    found: Any = await counted.group_by("repository_id").values_list("repository_id", "archives") if ids else []
    counts = dict(found)
    return [_answer(row, counts.get(row.id, 0)) for row in rows]


def _answer(row: Repository, archives: int) -> RepositoryAnswer:
    columns = {name: getattr(row, name) for name in RepositoryAnswer.model_fields.keys() - DERIVED}
    source = next((name for name in PASSPHRASE_SOURCES if getattr(row, name)), None)
    return RepositoryAnswer(**columns, archives=archives, passphrase_from=source, key_export_due=is_due(row))


async def find(call: Call[Any, Any]) -> Repository:
    """The repository of the path, where the principal may see it; raises `NotFoundError`."""
    reference = call.path["repo"]
    wanted = {"id": int(reference)} if reference.isdigit() and len(reference) < 10 else {"name": reference}
    row = await Repository.filter(**wanted).using_db(reader()).first()
    if row is None:
        raise NotFoundError(f"There is no repository {reference}.")
    call.principal.require(Role.VIEW, row.name)
    return row


async def list_repositories(call: Call[None, PageQuery]) -> Page[RepositoryAnswer]:
    """The repositories that the principal may see."""
    names = call.principal.limited_to(Role.VIEW)
    rows = Repository.all() if names is None else Repository.filter(name__in=list(names))
    return Page[RepositoryAnswer](**await page(rows, call.query, present))


async def show_repository(call: Plain) -> RepositoryAnswer:
    """One repository."""
    return (await present([await find(call)]))[0]


async def add_repository(call: Call[NewRepository, None]) -> Answer:
    """Add a repository and, with `init`, accept the job that makes it."""
    added = await add(_asker(call), call.body, default_host=call.context.settings.host)
    answer = (await present([added.repository]))[0]
    answer.init_job_id = added.init_job.id if added.init_job else None
    return made(call, f"{COLLECTION}/{answer.id}", answer)


async def change_repository(call: Call[RepositoryChange, None]) -> RepositoryAnswer:
    """Change the fields given."""
    changed = await change(_asker(call), await find(call), call.body)
    return (await present([changed]))[0]


class Acceptance(BaseModel):
    """A question of borg's that is answered yes."""

    model_config = ConfigDict(extra="forbid")

    question: Question


async def accept_question(call: Call[Acceptance, None]) -> RepositoryAnswer:
    """Answer yes to what borg asks about the repository."""
    return (await present([await accept(_asker(call), await find(call), call.body.question)]))[0]


class KeyAnswer(BaseModel):
    """The public part of a repository's ssh key, and the line for the server that lets it do nothing else."""

    public_key: str
    authorized_keys: str


async def show_key(call: Plain) -> KeyAnswer:
    """The ssh key of a repository behind ssh."""
    row = await find(call)
    line = authorized_keys(row)
    return KeyAnswer(public_key=str(row.ssh_public_key), authorized_keys=line)


async def remove_repository(call: Plain) -> None:
    """Forget a repository; its data stays where it is."""
    await remove(_asker(call), await find(call))


def _asker(call: Call[Any, Any]) -> Asker:
    return Asker(call.principal, call.origin)


ROUTES = (
    Route(
        "GET", COLLECTION, Role.VIEW, list_repositories, "The repositories, newest first",
        query=PageQuery, answer=Page[RepositoryAnswer], by_repository=True,
    ),
    Route(
        "POST", COLLECTION, Role.ADMINISTER, add_repository, "Adds a repository",
        body=NewRepository, answer=RepositoryAnswer, status=HTTPStatus.CREATED,
    ),
    Route(
        "GET", ONE, Role.VIEW, show_repository, "One repository, by id or name",
        answer=RepositoryAnswer, by_repository=True,
    ),
    Route(
        "PUT", ONE, Role.ADMINISTER, change_repository, "Changes the fields given",
        body=RepositoryChange, answer=RepositoryAnswer,
    ),
    Route(
        "GET", f"{ONE}/key", Role.ADMINISTER, show_key, "The ssh key of a repository behind ssh",
        answer=KeyAnswer, also=(HTTPStatus.CONFLICT,),
    ),
    Route(
        "POST", f"{ONE}/accept", Role.ADMINISTER, accept_question, "Answers yes to what borg asks about the repository",
        body=Acceptance, answer=RepositoryAnswer,
    ),
    Route(
        "DELETE", ONE, Role.ADMINISTER, remove_repository, "Forgets a repository; its data stays where it is",
        status=HTTPStatus.NO_CONTENT,
    ),
)  # fmt: skip
