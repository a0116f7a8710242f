"""`locutus run` and `locutus jobs`: start jobs, wait for them, look at them, end them."""

import codecs
import json
import re
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.live import Live

from bot import wording
from bot.card import Message, job_card, progress_message
from bot.commands import grammar
from bot.commands.starting import starting_command
from bot.console import terminal
from cli.api_client import Api, api, segment
from cli.output import (
    FAILED,
    INTERRUPTED,
    NOTHING,
    AsJson,
    command,
    moment,
    note,
    run_async,
    safe,
    say,
    say_json,
    stderr,
    stdout,
    table,
    unless_interrupted,
)
from jobs.clock import now
from jobs.errors import InvalidRequestError
from jobs.job_type import Words
from jobs.settings import load_settings
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, JobView

LONGEST_WAIT_S = 60
LIVE_WAIT_S = 0.5
DEFAULT_LIMIT = 20
STARTABLE = {
    kind: start
    for kind, job_type in sorted(JOB_TYPES.items())
    if (start := job_type.routes.start) and job_type.needs_repository
}
"""Where each kind is started."""

jobs = typer.Typer(help="Look at jobs, cancel them, run them again.")

JobId = Annotated[int, typer.Argument(metavar="JOB", min=1, help="The job's number.")]


@command
async def run(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(STARTABLE)}.")],
    words: Annotated[list[str], typer.Argument(metavar="REPO [FLAG]…", help="As after `/backup` in chat.")],
    *,
    parameters: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it completed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a job of KIND on REPO. Its parameters are flags: `locutus run check photos --max-duration 600`."""
    said = said_as_in_chat(kind, words) | dict(map(parameter, parameters or []))
    path, body = start_request(kind, said.pop("repository", ""), said)
    async with api(load_settings()) as client:
        started = await client.post(path, body)
        await say_started(client, started, wait=wait, as_json=as_json)


@jobs.callback(invoke_without_command=True)
def newest(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Look at jobs, cancel them, run them again; alone, the newest jobs."""
    if context.invoked_subcommand is None:
        run_async(_list({}, DEFAULT_LIMIT, as_json=as_json))


@jobs.command("list")
@command
async def list_jobs(
    *,
    status: JobStatus | None = None,
    kind: str | None = None,
    repository: str | None = None,
    limit: Annotated[int, typer.Option(min=1)] = DEFAULT_LIMIT,
    as_json: AsJson = False,
) -> None:
    """The newest jobs."""
    await _list({"status": status, "kind": kind, "repository": repository}, limit, as_json=as_json)


@jobs.command()
@command
async def show(job_id: JobId, *, as_json: AsJson = False) -> None:
    """One job: what, where, who, how far, how it ended."""
    async with api(load_settings()) as client:
        found = await client.get(f"/api/jobs/{job_id}")
    if as_json:
        say_json(found)
        return
    job = JobView.model_validate(found)
    messages = [job_card(job, words=words_of(job.kind)), progress(job)]
    if stdout.is_terminal:
        stdout.print(terminal.thread(messages))
    else:
        say("\n".join(message.text for message in messages))
    times = {"asked": found["created_at"], "started": found["started_at"], "ended": found["completed_at"]}
    say(", ".join(f"{name} {moment(value)}" for name, value in times.items() if value))


@jobs.command()
@command
async def logs(
    job_id: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """A job's log."""
    async with api(load_settings()) as client:
        await unless_interrupted(_print_log(client, job_id, follow=follow, as_json=as_json))


@jobs.command()
@command
async def cancel(job_id: JobId, *, as_json: AsJson = False) -> None:
    """End a job."""
    async with api(load_settings()) as client:
        job = await client.post(f"/api/jobs/{job_id}/cancel")
    if as_json:
        say_json(job)
    elif JobStatus(job["status"]).final:
        say(f"Job #{job_id} is {job['status']}.")
    else:
        say(f"Job #{job_id} is being cancelled; it is {job['status']} until its host has stopped it.")


@jobs.command()
@command
async def forget(job_id: JobId, *, as_json: AsJson = False) -> None:
    """Give up a job whose host is gone for good, and free its repository for others."""
    async with api(load_settings()) as client:
        job = await client.post(f"/api/jobs/{job_id}/forget")
    if as_json:
        say_json(job)
    else:
        say(f"Job #{job_id} is {job['status']} and holds no repository. If its host returns, it will say how it ended.")


@jobs.command()
@command
async def retry(
    job_id: JobId,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it completed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run an ended job again, as a new job."""
    async with api(load_settings()) as client:
        started = await client.post(f"/api/jobs/{job_id}/retry")
        if _say_if_asked(started, as_json=as_json):
            return
        if wait:
            await show_end(client, started["job_id"], as_json=as_json)
        elif as_json:
            say_json(started)
        else:
            say(f"Job #{started['job_id']} is {started['status']}: it does again what #{job_id} did.")


def said_as_in_chat(kind: str, words: list[str]) -> dict[str, Any]:
    """What the words behind KIND say, by field; raises `typer.BadParameter` for what chat would not understand."""
    if kind not in STARTABLE:
        raise typer.BadParameter(f"{kind!r} can't be started. What can be is {', '.join(STARTABLE)}.")
    start = replace(starting_command(JOB_TYPES[kind]), name=kind)
    try:
        return grammar.checked(start, grammar.values_of(start, words))
    except InvalidRequestError as error:
        raise typer.BadParameter(str(error).replace(f"{grammar.SLASH} ", "locutus run ")) from error


def start_request(kind: str, repository: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Path and body that start a job of `kind`; raises `typer.BadParameter` where nothing starts it."""
    if kind not in STARTABLE:
        raise typer.BadParameter(f"{kind!r} can't be started. What can be is {', '.join(STARTABLE)}.")
    body = {"repository": repository, **parameters}
    names = {"repo": "repository"}
    try:
        path = re.sub(r"{(\w+)}", lambda found: segment(str(body.pop(names.get(found[1], found[1])))), STARTABLE[kind])
    except KeyError as error:
        raise typer.BadParameter(f"{kind} needs --set {error.args[0]}=…") from error
    return path, body


async def show_end(client: Api, job_id: int, *, as_json: bool) -> None:
    """Wait for the end of the job and of what follows it, and say it; JSON tells of the job alone.

    The command ends with status 1 unless all of it completed.
    """
    chain = [await awaited(client, job_id)]
    while step := await _step_after(client, chain):
        chain.append(await awaited(client, step))
    if as_json:
        say_json(chain[0].model_dump(mode="json"))
    else:
        say("\n".join(progress(job).text for job in chain))
    for job in chain:
        exit_unless_completed(job)


async def _step_after(client: Api, chain: list[JobView]) -> int | None:
    """The number of the job that a success was followed by, if any was."""
    if chain[-1].status is not JobStatus.COMPLETED or not chain[-1].follow_ups:
        return None
    newest = await client.items("/api/jobs", 1, parent_id=chain[0].id)
    return int(newest[0]["id"]) if newest and newest[0]["id"] > chain[-1].id else None


async def awaited(client: Api, job_id: int) -> JobView:
    """The job once it has ended; Ctrl-C leaves it alone and ends the command."""
    job = await unless_interrupted(ended(client, job_id))
    if job is None:
        note(f"Job #{job_id} goes on without you. `locutus jobs show {job_id}` shows how far it is.")
        raise typer.Exit(INTERRUPTED)
    return job


def exit_unless_completed(job: JobView) -> None:
    """End the command with status 1 unless the job completed."""
    if job.status is not JobStatus.COMPLETED:
        raise typer.Exit(FAILED)


async def ended(client: Api, job_id: int) -> JobView:
    """The job once it has ended; until then its progress stands in one line, where there is a terminal."""
    await say_if_nobody_works(client)
    wait_s = LIVE_WAIT_S if stderr.is_terminal else LONGEST_WAIT_S
    with Live(console=stderr, transient=True, auto_refresh=False) as line:
        while True:
            job = JobView.model_validate(await client.get(f"/api/jobs/{job_id}", wait=wait_s))
            if job.status.final:
                return job
            line.update(terminal.status_line(progress(job)), refresh=stderr.is_terminal)


async def say_if_nobody_works(client: Api) -> None:
    """A hint for whoever waits for a job that no worker will take."""
    if "workers" in (await client.get("/readyz"))["degraded"]:
        note("A host's worker is silent; its jobs wait until it is heard of again. `locutus up` starts one.")


def progress(job: JobView) -> Message:
    """The progress message that the job's thread shows."""
    return progress_message(job, now=now(), words=words_of(job.kind))


def words_of(kind: str) -> Words | None:
    """How a kind is spoken of; None for one that only the gateway knows."""
    return JOB_TYPES[kind].words if kind in JOB_TYPES else None


async def say_started(client: Api, started: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    """Say what came of a start: a job, with `wait` also its end, or the question that a second person answers."""
    if _say_if_asked(started, as_json=as_json):
        return
    if wait:
        await show_end(client, started["job_id"], as_json=as_json)
    elif as_json:
        say_json(started)
    else:
        number = started["job_id"]
        say(f"Job #{number} is {started['status']}. `locutus jobs show {number}` shows how far it is.")


def _say_if_asked(answer: dict[str, Any], *, as_json: bool) -> bool:
    """Whether a second person has to confirm first; then what they will confirm is said."""
    if "confirmation_id" not in answer:
        return False
    if as_json:
        say_json(answer)
    else:
        number = answer["confirmation_id"]
        said = f"Somebody else must confirm this: `locutus confirmations confirm {number}`."
        say("\n".join([*answer["plan"], said]))
    return True


async def _list(wanted: dict[str, Any], limit: int, *, as_json: bool) -> None:
    async with api(load_settings()) as client:
        found = await client.items("/api/jobs", limit, **wanted)
    if as_json:
        say_json({"items": found})
        return
    rows = [_row(job) for job in found]
    table(("Job", "Kind", "Repository", "Host", "Status", "Asked", "Took"), rows, "There is no such job.")


def _row(job: dict[str, Any]) -> list[str]:
    percent = job["progress"]["progress_percent"]
    running = job["status"] == JobStatus.RUNNING and percent is not None
    status = f"{job['status']} {percent:.0f} %" if running else job["status"]
    took = wording.duration(job["duration_s"]) if job["duration_s"] is not None else NOTHING
    return [
        str(job["id"]),
        job["kind"],
        job["repository"] or NOTHING,
        job["host"],
        status,
        moment(job["created_at"]),
        took,
    ]


async def _print_log(client: Api, job_id: int, *, follow: bool, as_json: bool) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for piece in client.stream(f"/api/jobs/{job_id}/logs", follow=str(follow).lower()):
        if as_json:
            typer.echo(json.dumps({"job_id": job_id, "text": decoder.decode(piece)}))
        elif stdout.is_terminal:
            typer.echo(safe(decoder.decode(piece)), nl=False)
        else:
            typer.echo(piece, nl=False)


def parameter(text: str) -> tuple[str, Any]:
    """`keep_daily=7` as a name and a JSON value, or a text where it is none."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"write NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
