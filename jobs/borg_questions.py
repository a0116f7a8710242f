"""What people answer of borg's questions about a repository. Without an answer borg hears no."""

from functools import partial

from jobs import audit
from jobs.access import Role
from jobs.borg.environment import Question
from jobs.database.unit import unit
from jobs.models import Repository
from jobs.repositories import Asker, locked


async def accept(asker: Asker, repository: Repository, question: Question) -> Repository:
    """Answer yes: to a move, for the place where the repository is now; raises a `RequestRefusedError`."""
    asker.principal.require(Role.ADMINISTER)
    return await unit(partial(_accept, asker, repository.id, question))


async def _accept(asker: Asker, repository_id: int, question: Question) -> Repository:
    row = await locked(repository_id)
    if question is Question.RELOCATED:
        row.update_from_dict({"accepted_location": row.location})
    else:
        row.accepts_unencrypted = True
    await row.save()
    detail = {"question": question.value, "location": row.location}
    await audit.record(asker.principal, "repository.accept", origin=asker.origin, target=row.name, **detail)
    return row
