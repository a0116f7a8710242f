"""The app's home in Slack: what runs and waits, and the repositories, as far as one may see them.

https://docs.slack.dev/surfaces/app-home; a view has at most 100 blocks.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from bot import wording
from bot.card import Button, Message, job_card
from bot.commands import Answer, Asker
from bot.commands.lookup import visible_jobs, visible_repositories
from bot.slack.render import Block, answer_blocks, blocks_of, button_block, date, mrkdwn, name, plain
from jobs.models import Repository
from jobs.present import view
from jobs.types import JOB_TYPES
from jobs.view import JobStatus
from jobs.waiting import standings

JOBS, REPOSITORIES = 10, 20
_LIMIT = 2_900


async def home_of(asker: Asker, said: Answer | None = None) -> dict[str, Any]:
    """The home of `asker`; on top what was just said to them."""
    return home(await _cards(asker), await visible_repositories(asker), said)


def home(cards: Sequence[Message], repositories: Sequence[Repository], said: Answer | None = None) -> dict[str, Any]:
    """The view from cards of unfinished jobs and from repositories. Pure."""
    return {"type": "home", "blocks": list(_home(cards, repositories, said))}


def _home(cards: Sequence[Message], repositories: Sequence[Repository], said: Answer | None) -> Iterator[Block]:
    if said:
        yield from answer_blocks(said)
        yield {"type": "divider"}
    yield _header("Running and waiting")
    for card in cards[:JOBS]:
        yield from blocks_of(card)
    if not cards:
        yield {"type": "section", "text": plain("Nothing is running or waiting.", _LIMIT)}
    yield _header("Repositories")
    for repository in repositories[:REPOSITORIES]:
        yield _repository(repository)
    if not repositories:
        yield {"type": "section", "text": plain("There is none that you may see.", _LIMIT)}


async def _cards(asker: Asker) -> list[Message]:
    unfinished = visible_jobs(asker).filter(status__in=[JobStatus.PENDING, JobStatus.RUNNING])
    rows = await unfinished.order_by("id").limit(JOBS)
    found = await standings(rows)
    kinds = {row.id: JOB_TYPES.get(row.kind) for row in rows}
    return [job_card(view(row, found[row.id]), words=kind.words if (kind := kinds[row.id]) else None) for row in rows]


def _header(text: str) -> Block:
    return {"type": "header", "text": plain(text, 150)}


def _repository(repository: Repository) -> Block:
    made = repository.last_backup
    last = date(wording.moment(made), made) if made else "never"
    text = f"{name(repository.name)} on {name(repository.host)}, last backup {last}"
    button = button_block(Button("repository.run", repository.name, "Back up now"))
    return {"type": "section", "text": mrkdwn(text), "accessory": button}
