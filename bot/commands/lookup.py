"""What a command's words name, as far as the asker may see it: what they may not see does not exist for them."""

from difflib import get_close_matches
from typing import Any

from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from bot.commands.asking import Asker
from bot.commands.grammar import quoted
from jobs.access import Role
from jobs.database.unit import reader
from jobs.errors import InvalidRequestError, NotFoundError
from jobs.models import Host, Job, Repository


def may_see(asker: Asker, repository: str | None) -> bool:
    """Whether the asker may look at the repository's jobs; None: at what belongs to no repository."""
    return asker.principal.may(Role.VIEW, repository, asker.channel)


class HiddenError(NotFoundError):
    """It exists, but the asker may not see it: told like what does not exist, and noted in the audit."""


def not_there(found: object, sentence: str) -> NotFoundError:
    """The refusal of what was `found` but is hidden from the asker, or was not found: the same words."""
    return NotFoundError(sentence) if found is None else HiddenError(sentence)


async def visible_job(asker: Asker, job_id: int) -> Job:
    """The job; raises `NotFoundError`."""
    job = await Job.get_or_none(id=job_id)
    if job is not None and may_see(asker, job.repository_name):
        return job
    raise not_there(job, f"There is no job #{job_id}. `/backup status` shows what runs.")


def visible(asker: Asker, name: str = "repository_name") -> Q:
    """What the asker may look at, as a condition on the field with the repository's name: see `may_see`."""
    names = asker.principal.limited_to(Role.VIEW, asker.channel)
    condition: Any = {} if names is None else {f"{name}__in": sorted(names)}
    return Q(**condition)


def visible_jobs(asker: Asker) -> QuerySet[Job]:
    """The jobs that the asker may see."""
    return Job.filter(visible(asker)).using_db(reader())


async def visible_repositories(asker: Asker) -> list[Repository]:
    """The repositories, by name."""
    rows = await Repository.all().using_db(reader()).order_by("name")
    return [row for row in rows if may_see(asker, row.name)]


async def repository_named(asker: Asker, reference: str) -> Repository:
    """The repository with this name or id; raises `NotFoundError` with a suggestion."""
    rows = await Repository.all().using_db(reader()).order_by("name")
    named = next((row for row in rows if reference in {row.name, str(row.id)}), None)
    if named is not None and may_see(asker, named.name):
        return named
    near = get_close_matches(reference, [row.name for row in rows if may_see(asker, row.name)], n=1)
    hint = f"Did you mean {near[0]}?" if near else "`/backup list` shows those there are."
    raise not_there(named, f"There is no repository {quoted(reference)}. {hint}")


async def only_host() -> str:
    """The host that is meant where there is only one; raises `InvalidRequestError` where there is a choice."""
    names: list[Any] = await Host.all().using_db(reader()).order_by("name").values_list("name", flat=True)
    if len(names) != 1:
        raise InvalidRequestError("host", f"say which one: `--host NAME`, of {', '.join(names) or 'those to come'}.")
    return str(names[0])
