"""What a command's words name, as far as the asker may see it: what they may not see does not exist for them."""

from difflib import get_close_matches
from typing import Any

from bot.commands.asking import Asker
from bot.commands.grammar import quoted
from jobs.access import Role
from jobs.database.unit import reader
from jobs.errors import InvalidRequestError, NotFoundError
from jobs.models import Host, Job, Repository


def may_see(asker: Asker, repository: str | None) -> bool:
    """Whether the asker may look at the repository's jobs; None: at what belongs to no repository."""
    return asker.principal.may(Role.VIEW, repository, asker.channel)


async def visible_job(asker: Asker, job_id: int) -> Job:
    """The job; raises `NotFoundError`."""
    job = await Job.get_or_none(id=job_id)
    if job is None or not may_see(asker, job.repository_name):
        raise NotFoundError(f"There is no job #{job_id}. `/backup status` shows what runs.")
    return job


async def visible_repositories(asker: Asker) -> list[Repository]:
    """The repositories, by name."""
    rows = await Repository.all().using_db(reader()).order_by("name")
    return [row for row in rows if may_see(asker, row.name)]


async def repository_named(asker: Asker, reference: str) -> Repository:
    """The repository with this name or id; raises `NotFoundError` with a suggestion."""
    visible = await visible_repositories(asker)
    for row in visible:
        if reference in {row.name, str(row.id)}:
            return row
    near = get_close_matches(reference, [row.name for row in visible], n=1)
    hint = f"Did you mean {near[0]}?" if near else "`/backup list` shows those there are."
    raise NotFoundError(f"There is no repository {quoted(reference)}. {hint}")


async def only_host() -> str:
    """The host that is meant where there is only one; raises `InvalidRequestError` where there is a choice."""
    names: list[Any] = await Host.all().using_db(reader()).order_by("name").values_list("name", flat=True)
    if len(names) != 1:
        raise InvalidRequestError("host", f"say which one: `--host NAME`, of {', '.join(names) or 'those to come'}.")
    return str(names[0])
