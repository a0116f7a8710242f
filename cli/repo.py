"""`locutus repo`: repositories are added, shown and forgotten."""

import getpass
import shlex
import sys
from typing import Annotated, Any

import typer

from bot import wording
from cli.api_client import Api, api, segment
from cli.jobs import awaited, exit_unless_completed, show_end
from cli.listing import say_list
from cli.output import NOTHING, AsJson, command, fail, moment, note, say, say_json, table
from jobs.key_export import reminder
from jobs.settings import load_settings
from jobs.view import JobStatus

PATH = "/api/repositories"
ENCRYPTED = "repokey-blake2"

repo = typer.Typer(help="Add, show and forget repositories.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What people call it, such as photos.")]
Paths = Annotated[list[str], typer.Option("--source", help="A directory to back up; repeat for more.")]
Excluded = Annotated[list[str] | None, typer.Option("--exclude", help="A borg pattern to leave out; repeat for more.")]
Mode = Annotated[str | None, typer.Option(help="borg's encryption mode; with --init repokey-blake2 or none.")]
File = Annotated[str | None, typer.Option(help="A file on the repository's host, read at each run.")]
Argv = Annotated[str | None, typer.Option(help="A program on this host that prints the passphrase, at each run.")]
Stdin = Annotated[bool, typer.Option("--passphrase-stdin", help="Read the passphrase here; only the host can open it.")]


@repo.command()
@command
async def add(  # noqa: PLR0913 - one argument an option
    name: Name,
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="A directory, or ssh://user@host/path.")],
    *,
    source: Paths,
    init: Annotated[bool, typer.Option("--init", help="Make the repository there.")] = False,
    encryption: Mode = None,
    passphrase_file: File = None,
    passphrase_command: Argv = None,
    passphrase_stdin: Stdin = False,
    ssh_key: Annotated[str | None, typer.Option(help="A private key on the host; else one is made.")] = None,
    host_key: Annotated[str | None, typer.Option(help="The server's fingerprint, SHA256:…, if you know it.")] = None,
    remote_path: Annotated[str | None, typer.Option(help="borg on the server.")] = None,
    upload_ratelimit: Annotated[int | None, typer.Option(help="KiB/s.")] = None,
    host: Annotated[str | None, typer.Option(help="The host that runs its jobs; this one if not given.")] = None,
    channel: Annotated[str | None, typer.Option(help="Where its threads go, such as slack:TEAM:CHANNEL.")] = None,
    exclude: Excluded = None,
    compression: Annotated[str | None, typer.Option(help="As for borg, such as zstd,6.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="With --init: don't wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a repository, an existing one or with --init a new one."""
    secrets = {
        "passphrase": _passphrase() if passphrase_stdin else None,
        "passphrase_file": passphrase_file,
        "passphrase_command": _argv(passphrase_command),
    }
    if init and encryption is None:
        encryption = ENCRYPTED if any(secrets.values()) else "none"
    said = {
        "name": name, "location": location, "source_directories": source, "init": init, "encryption": encryption,
        "host": host, "channel": channel, "exclude_patterns": exclude, "compression": compression,
        "ssh_key": ssh_key, "host_key": host_key, "remote_path": remote_path, "upload_ratelimit": upload_ratelimit,
        **secrets,
    }  # fmt: skip
    async with api(load_settings()) as client:
        added = await client.post(PATH, {field: value for field, value in said.items() if value not in (None, [])})
        await _say_added(client, added, wait=not no_wait, as_json=as_json)


@repo.command("list")
@command
async def list_repositories(*, as_json: AsJson = False) -> None:
    """The repositories, and when each was last backed up."""
    titles = ("Name", "Host", "Location", "Last backup", "Archives", "Size")
    none = "There is no repository yet. `locutus repo add NAME LOCATION --source PATH` adds one."
    for row in await say_list(PATH, titles, _row, none, as_json=as_json, by_name=True):
        if row["key_export_due"] and not as_json:
            note(reminder(row["name"]))


@repo.command()
@command
async def show(name: Name, *, as_json: AsJson = False) -> None:
    """Everything that is known of a repository, but for its passphrase."""
    async with api(load_settings()) as client:
        found = await client.get(f"{PATH}/{segment(name)}")
    if as_json:
        say_json(found)
        return
    width = max(map(len, found))
    for field, value in found.items():
        if value not in (None, []):
            say(f"{field.replace('_', ' ').ljust(width)}  {_shown(field, value)}")


@repo.command()
@command
async def archives(
    name: Name,
    *,
    refresh: Annotated[bool, typer.Option("--refresh", help="Have its host list them anew first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many, the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """A repository's archives, newest first: those that Locutus knows of."""
    path = f"{PATH}/{segment(name)}/archives"
    async with api(load_settings()) as client:
        if refresh:
            await listed_anew(client, path)
        found = await client.items(path, limit)
    if as_json:
        say_json({"items": found})
        return
    rows = [
        [row["name"], moment(row["started_at"]), _count(row["nfiles"]), _size(row["original_size"]), row["id"][:16]]
        for row in found
    ]
    hint = f"No archive of {name} is known. `locutus repo archives {name} --refresh` asks its host for the list."
    table(("Archive", "Made", "Files", "Size", "Id"), rows, hint)


@repo.command()
@command
async def remove(name: Name, *, as_json: AsJson = False) -> None:
    """Forget a repository; its data stays where it is."""
    async with api(load_settings()) as client:
        await client.delete(f"{PATH}/{segment(name)}")
    if as_json:
        say_json({"removed": name})
    else:
        say(f"Repository {name} is forgotten; its data stays where it is.")


@repo.command()
@command
async def passphrase(
    name: Name,
    *,
    passphrase_file: File = None,
    passphrase_command: Argv = None,
    passphrase_stdin: Stdin = False,
    as_json: AsJson = False,
) -> None:
    """Say anew how the repository's passphrase is had: from a file, a command, or here."""
    ways = {"passphrase_file": passphrase_file, "passphrase_command": _argv(passphrase_command)}
    given = {field: value for field, value in ways.items() if value}
    if passphrase_stdin or not given:
        given["passphrase"] = _passphrase()
    async with api(load_settings()) as client:
        changed = await client.put(f"{PATH}/{segment(name)}", given)
    if as_json:
        say_json(changed)
    else:
        say(f"Repository {name} has a new passphrase.")


async def _say_added(client: Api, added: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    job_id = added.get("init_job_id")
    if as_json:
        await _say_added_as_json(client, added, job_id if wait else None)
        return
    say(f"Repository {added['name']} is added; its jobs run on {added['host']}.")
    if job_id is None:
        return
    if wait:
        await show_end(client, job_id, as_json=False)
    else:
        say(f"Job #{job_id} makes it. `locutus jobs show {job_id}` shows how far it is.")


async def _say_added_as_json(client: Api, added: dict[str, Any], awaited_id: int | None) -> None:
    """One document: the repository and, when it was waited for, the job that made it."""
    if awaited_id is None:
        say_json(added)
        return
    job = await awaited(client, awaited_id)
    say_json(added | {"init_job": job.model_dump(mode="json")})
    exit_unless_completed(job)


def _passphrase() -> str:
    """One line from stdin, without its newline; a terminal does not show it."""
    if sys.stdin.isatty():
        return getpass.getpass("Passphrase: ")
    return sys.stdin.readline().rstrip("\r\n")


def _argv(text: str | None) -> list[str] | None:
    try:
        return shlex.split(text) if text is not None else None
    except ValueError as error:
        raise typer.BadParameter("--passphrase-command: a quotation mark is not closed.") from error


async def listed_anew(client: Api, path: str) -> None:
    """Have the host list the archives, and wait for it; ends the command where it fails."""
    started = await client.get(path, refresh="true")
    job = await awaited(client, started["job_id"])
    if job.status is not JobStatus.COMPLETED:
        fail(f"Job #{job.id} is {job.status}. {job.error_message or ''}")


def _row(row: dict[str, Any]) -> list[str]:
    figures = moment(row["last_backup"]), str(row["archives"]), _size(row["size"])
    return [row["name"], row["host"], row["location"], *figures]


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return NOTHING if value is None else wording.size(value)


def _shown(field: str, value: Any) -> str:
    if field.startswith("last_") or field.endswith("_at"):
        return moment(value)
    if field == "size":
        return _size(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
