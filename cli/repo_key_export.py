"""`locutus repo key-export`: the key of an encrypted repository, on its host, for whoever keeps it in a safe place.

It speaks no HTTP: the key goes to the terminal or file of whoever asks, and nowhere else.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api_client import local_principal, require_database
from cli.composition import storage
from cli.output import AsJson, command, fail, note, say, say_json
from cli.repo import Name, repo
from jobs import key_export
from jobs.errors import RequestRefusedError
from jobs.models import Repository
from jobs.place import find_repository
from jobs.repositories import Asker
from jobs.secrets import write_private
from jobs.settings import Settings, load_settings
from worker.ask_borg import Bounds, ask_borg, outcome_of

BOUNDS = Bounds(timeout_s=120, limit=1024 * 1024)
KEEP_IT = "Keep it apart from the repository, with the passphrase that opens it."


@repo.command("key-export")
@command
async def export(
    name: Name,
    *,
    output: Annotated[Path | None, typer.Option(help="A file to make, 0600; else the key is printed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Export the repository's key. Run it on the repository's host, as the user that the worker runs as."""
    settings = load_settings()
    if settings.url:
        fail("The key leaves its host by no network: unset LOCUTUS_URL and run this on the repository's host.")
    require_database(settings)
    async with storage(settings):
        try:
            row = await find_repository(name)
        except RequestRefusedError as error:
            fail(error)
        text = await _key(settings, row)
        await asyncio.to_thread(_put, text, output)
        await key_export.note(Asker(local_principal(), "cli"), row)
    _tell(row, text, output, as_json=as_json)


async def _key(settings: Settings, row: Repository) -> str:
    if row.host != settings.host:
        fail(f"{row.name} is {row.host}'s: run this there.")
    if row.encryption == key_export.UNENCRYPTED:
        fail(f"{row.name} is not encrypted: it has no key.")
    try:
        reply = await ask_borg(settings, row, ("key", "export", "--log-json", "--", row.location), BOUNDS)
    except OSError as error:  # also a TimeoutError
        fail(f"borg could not be asked for the key ({error}). `locutus doctor` shows what is missing.")
    if reply.status != 0 or not reply.output.strip():
        fail(outcome_of(reply, row).sentence or "borg gave no key.")
    return reply.output.decode()


def _put(text: str, output: Path | None) -> None:
    if output is None:
        return
    if output.exists():
        fail(f"{output} exists already. Name a new file.")
    try:
        write_private(output, text.encode())
    except OSError as error:
        fail(f"{output} can't be written ({error.strerror}).")


def _tell(row: Repository, text: str, output: Path | None, *, as_json: bool) -> None:
    said: dict[str, Any] = {"repository": row.name} | ({"file": str(output)} if output else {"key": text})
    if as_json:
        say_json(said)
    elif output is None:
        say(text.rstrip("\n"))
        note(KEEP_IT)
    else:
        say(f"The key of {row.name} is in {output}. {KEEP_IT}")
