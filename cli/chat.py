"""`locutus chat`: the console's face. One types as in Slack; the answer and the job's thread appear below."""

import asyncio
import contextlib
import readline  # noqa: F401 - gives the prompt its line editing and history
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live

from bot import wording
from bot.card import Button, Part
from bot.console import terminal
from bot.console.content import restored
from cli.api_client import Api, api
from cli.jobs import say_if_nobody_works
from cli.output import FAILED, INTERRUPTED, AsJson, command, note, run_async, say, say_json, stdout, unless_interrupted
from jobs.settings import load_settings
from jobs.view import JobStatus

PROMPT = "locutus> "
LOOK_EVERY_S, LOOK_AGAIN_S = 0.4, 0.1
GRACE_S = 10.0
"""How long the thread may take to show an end that the job has reached already."""
LOOKING = frozenset({"status", "logs"})
"""Commands that name a job but ask for nothing to be done with it."""
LEAVING = frozenset({"exit", "quit"})


def chat(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="One command, such as '/backup run demo'.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Talk to Locutus as in Slack.

    With TEXT it carries out that command, shows the thread until the job has ended, and exits 0 if it completed.
    """
    if text is not None:
        one_command(text, as_json=as_json)
    elif as_json:
        raise typer.BadParameter("--json needs a command: locutus chat --json '/backup run demo'.")
    else:
        _talk()


@command
async def one_command(text: str, *, as_json: bool) -> None:
    """Carry out one command; exit 0 when the job that came of it completed, or when none did."""
    async with api(load_settings()) as client:
        status = await _carry_out(client, text, as_json=as_json)
    if status:
        raise typer.Exit(status)


def _talk() -> None:
    note("Type /backup help to see what can be asked; Ctrl-D leaves.")
    with contextlib.suppress(EOFError):
        while (line := _typed()) not in LEAVING:
            if line:
                # A gateway of its own for each line: none is kept waiting while somebody thinks.
                with contextlib.suppress(typer.Exit):
                    run_async(_converse(line))


def _typed() -> str:
    try:
        return input(PROMPT).strip()
    except KeyboardInterrupt:
        typer.echo()
        return ""


async def _converse(line: str) -> None:
    async with api(load_settings()) as client:
        await _carry_out(client, line, as_json=False)


async def _carry_out(client: Api, text: str, *, as_json: bool) -> int:
    """Say it, show what comes of it; the exit status."""
    reply = await client.post("/api/console/commands", {"text": text})
    if not as_json:
        _say_answer(reply)
    word = _word(text)
    if reply["job_id"] is None or word in LOOKING:
        if as_json:
            say_json(reply | {"messages": []})
        return FAILED if reply["refused"] else 0
    face = contextlib.nullcontext(_unseen) if as_json else _live() if stdout.is_terminal else _lines()
    thread = await unless_interrupted(_follow(client, reply["job_id"], face))
    if thread is None:
        note(f"Job #{reply['job_id']} goes on without you. `/backup status {reply['job_id']}` shows how far it is.")
        return INTERRUPTED
    if as_json:
        say_json(reply | {"messages": thread.messages})
    return 0 if thread.status is (JobStatus.CANCELLED if word == "cancel" else JobStatus.COMPLETED) else FAILED


def _say_answer(reply: dict[str, Any]) -> None:
    moments = {written: datetime.fromisoformat(when) for written, when in reply["moments"].items()}
    say(wording.with_moments(reply["text"], moments, lambda _, when: wording.local(when, None)))
    if reply["code"]:
        say(reply["code"])
    if reply["buttons"]:
        say(terminal.choices([Button(**button) for button in reply["buttons"]]))


def _word(text: str) -> str:
    words = text.split()
    return next(iter(words[1:] if words[:1] == ["/backup"] else words), "")


@dataclass(slots=True)
class Thread:
    """A job's thread as it was last seen: the API's messages, and the job's state once it has ended."""

    job_id: int
    messages: list[dict[str, Any]] = field(default_factory=list)
    status: JobStatus | None = None

    @property
    def shows_end(self) -> bool:
        """Whether nothing more is to come: every message shows an end, and a failure has its log lines."""
        own = [message["content"] for message in self.messages if message["content"]["job_id"] == self.job_id]
        states = {content["part"]: JobStatus(content["status"]) for content in own}
        wanted = {Part.CARD, Part.PROGRESS} | ({Part.FAILURE} if self.status is JobStatus.FAILED else set())
        return wanted <= states.keys() and all(state.final for state in states.values())


Show = Callable[[Thread], None]


async def _follow(client: Api, job_id: int, face: AbstractContextManager[Show]) -> Thread:
    """Show the thread as it changes, until it shows that the job has ended."""
    await say_if_nobody_works(client)
    thread, loop = Thread(job_id), asyncio.get_running_loop()
    with face as show:
        while thread.status is None:
            # The answer comes at once when the job ends.
            job = await client.get(f"/api/jobs/{job_id}", wait=LOOK_EVERY_S)
            thread.status = JobStatus(job["status"]) if job["completed_at"] else None
            await _look(client, thread, show)
        give_up_at = loop.time() + GRACE_S
        while not thread.shows_end and loop.time() < give_up_at:
            await asyncio.sleep(LOOK_AGAIN_S)
            await _look(client, thread, show)
    return thread


async def _look(client: Api, thread: Thread, show: Show) -> None:
    thread.messages = (await client.get("/api/console/messages", job_id=thread.job_id))["items"]
    show(thread)


def _unseen(thread: Thread) -> None:
    del thread


@contextlib.contextmanager
def _live() -> Iterator[Show]:
    """The thread in place, edited as it changes; at the end it stays there."""
    laid_out = Group()

    def show(thread: Thread) -> None:
        nonlocal laid_out
        laid_out = terminal.thread([restored(message["content"]) for message in thread.messages])
        live.update(laid_out, refresh=True)

    # While it changes it can't be longer than the terminal: what stays is printed whole afterwards.
    with Live(console=stdout, transient=True, auto_refresh=False) as live:
        yield show
    stdout.print(laid_out)


@contextlib.contextmanager
def _lines() -> Iterator[Show]:
    """Each message when its text has changed, replies indented."""
    shown: dict[int, str] = {}

    def show(thread: Thread) -> None:
        for message in thread.messages:
            if shown.get(message["id"]) != message["text"]:
                shown[message["id"]] = message["text"]
                say(textwrap.indent(message["text"], "" if message["thread_id"] is None else "  "))

    yield show
