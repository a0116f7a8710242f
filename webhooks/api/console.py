"""The console over HTTP: say a command, read the thread of a job. The command line's `chat` and the web page use it."""

import re
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints
from tortoise.expressions import Q

from bot.card import Button
from bot.commands import Answer, Asker, answer, click
from bot.console.content import restored
from jobs.access import Role
from jobs.database.unit import reader
from jobs.models import ConsoleMessage
from jobs.submit import IDEMPOTENCY_KEY
from jobs.threads import CONSOLE
from webhooks.api.fields import Body
from webhooks.api.jobs import RowId, find_job
from webhooks.api.started import request_key
from webhooks.route import Call, Route

LONGEST_COMMAND = 4000
LONGEST_THREAD = 200

_COMMAND_NAME = re.compile(r"^/backup(\s+|$)")


class Said(Body):
    """What was typed, with `/backup` before it or without."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_COMMAND)]


class Clicked(Body):
    """A button that was clicked, as a message or an answer named it."""

    action: Annotated[str, StringConstraints(max_length=63)]
    value: Annotated[str, StringConstraints(max_length=255)]


class CommandAnswer(BaseModel):
    """The private answer; `code` is text to show as it stands, `job_id` the job that came of it or was meant.

    `buttons` may be clicked; `confirmation_id` is the question that they answer. `moments` are times that stand in the
    text, by how they are written there, to be shown by the reader's own clock.
    """

    text: str
    code: str | None
    job_id: int | None
    refused: bool
    confirmation_id: int | None
    buttons: list[Button]
    moments: dict[str, datetime]


class ThreadQuery(BaseModel):
    """Whose thread."""

    model_config = ConfigDict(extra="forbid")

    job_id: RowId


class MessageAnswer(BaseModel):
    """A message of the console: `content` to lay out, `text` the same in one piece. `thread_id` is the card's id."""

    id: int
    thread_id: int | None
    job_id: int | None
    part: str | None
    content: dict[str, Any]
    text: str
    edits: int
    created_at: datetime
    edited_at: datetime | None


class ThreadAnswer(BaseModel):
    """A thread, oldest message first."""

    items: list[MessageAnswer]


async def carry_out(call: Call[Said, None]) -> CommandAnswer:
    """Do what was typed, with the asker's own rights; a refusal is an answer too."""
    return _answered(await answer(_COMMAND_NAME.sub("", call.body.text), _asker(call)))


async def click_button(call: Call[Clicked, None]) -> CommandAnswer:
    """Do what the button stands for, with the asker's own rights; a refusal is an answer too."""
    return _answered(await click(call.body.action, call.body.value, _asker(call)))


def _asker(call: Call[Any, None]) -> Asker:
    return Asker(call.principal, CONSOLE, CONSOLE, request_key(call))


def _answered(reply: Answer) -> CommandAnswer:
    return CommandAnswer(**{name: getattr(reply, name) for name in CommandAnswer.model_fields})


async def show_thread(call: Call[None, ThreadQuery]) -> ThreadAnswer:
    """The thread that the job's messages stand in."""
    job = await find_job(call, call.query.job_id)
    of_job = await ConsoleMessage.filter(job_id=job.id).using_db(reader()).limit(LONGEST_THREAD)
    roots = list({row.thread_id or row.id for row in of_job})
    rows = ConsoleMessage.filter(Q(id__in=roots) | Q(thread_id__in=roots)).using_db(reader())
    found = await rows.order_by("id").limit(LONGEST_THREAD) if roots else []
    return ThreadAnswer(items=[present(row) for row in found])


def present(row: ConsoleMessage) -> MessageAnswer:
    """The row as it is answered."""
    return MessageAnswer(
        id=row.id,
        thread_id=row.thread_id,
        job_id=row.job_id,
        part=row.part,
        content=row.content,
        text=restored(row.content).text,
        edits=row.edits,
        created_at=row.created_at,
        edited_at=row.edited_at,
    )


ROUTES = (
    Route(
        "POST", "/api/console/commands", Role.VIEW, carry_out, "Carries out a chat command for the console",
        body=Said, answer=CommandAnswer, by_repository=True, request_headers=(IDEMPOTENCY_KEY,),
    ),
    Route(
        "POST", "/api/console/clicks", Role.VIEW, click_button, "Clicks a button of the console",
        body=Clicked, answer=CommandAnswer, by_repository=True, request_headers=(IDEMPOTENCY_KEY,),
    ),
    Route(
        "GET", "/api/console/messages", Role.VIEW, show_thread, "A job's thread on the console",
        query=ThreadQuery, answer=ThreadAnswer, also=(HTTPStatus.NOT_FOUND,), by_repository=True,
    ),
)  # fmt: skip
