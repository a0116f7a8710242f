"""`locutus repo key`, `repo trust` and `repo accept`: what a server must know of us, and what we take it for."""

from typing import Annotated

import typer

from cli.api_client import api, segment
from cli.output import AsJson, command, fail, note, say, say_json, stdout
from cli.repo import PATH, Name, repo
from jobs.borg.environment import Question
from jobs.settings import load_settings
from jobs.ssh import HostKeyOffer, ssh_place
from worker.ssh_files import SshUnpreparedError, scan


@repo.command()
@command
async def key(name: Name, *, as_json: AsJson = False) -> None:
    """The line for the server's authorized_keys that lets this repository's host serve it, and do nothing else."""
    async with api(load_settings()) as client:
        found = await client.get(f"{PATH}/{segment(name)}/key")
    if as_json:
        say_json(found)
    else:
        say(found["authorized_keys"])


@repo.command()
@command
async def trust(
    name: Name,
    fingerprint: Annotated[
        str | None, typer.Argument(metavar="FINGERPRINT", help="SHA256:…; without it the server is asked from here.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Trust the repository's server by its host key."""
    async with api(load_settings()) as client:
        one = f"{PATH}/{segment(name)}"
        wanted = fingerprint or await _confirmed((await client.get(one))["location"])
        changed = await client.put(one, {"host_key": wanted})
    if as_json:
        say_json(changed)
    else:
        say(f"The server of {name} is trusted by {changed['host_key']}.")


@repo.command()
@command
async def accept(
    name: Name,
    question: Annotated[
        Question, typer.Argument(help="relocated: it was moved on purpose; unencrypted: it is to be so.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Answer yes to what borg asks about a repository."""
    async with api(load_settings()) as client:
        changed = await client.post(f"{PATH}/{segment(name)}/accept", {"question": question.value})
    if as_json:
        say_json(changed)
    else:
        say(f"Repository {name} at {changed['location']} is accepted as {question.value}.")


async def _confirmed(location: str) -> str:
    place = ssh_place(location)
    if place is None:
        fail(f"{location} is not behind ssh.")
    try:
        offered = await scan(place)
    except SshUnpreparedError as error:
        fail(error)
    for offer in offered:
        note(_line(offer))
    if not stdout.is_terminal:
        fail("Compare these with the server's owner, and give the right one as FINGERPRINT.")
    first = offered[0].fingerprint
    if not typer.confirm(f"Is {first} the key of {place.host}?", err=True):
        fail("Nothing was changed.")
    return first


def _line(offer: HostKeyOffer) -> str:
    return f"{offer.fingerprint} ({offer.type})"
