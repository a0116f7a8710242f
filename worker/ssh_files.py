"""What ssh needs of a host for a repository: a key made here, and the pinned host key of the server.

Both stand in `ssh/` of the data directory, one pair of files for each repository, by its id.
"""

import asyncio
import contextlib
from pathlib import Path

from jobs.database.unit import reader
from jobs.models import Repository
from jobs.secrets import write_private
from jobs.settings import Settings
from jobs.ssh import HostKeyOffer, SshPlace, known_hosts_line, offers, remote_shell, ssh_place
from worker.ask import ask

SCAN_TIMEOUT_S = 20
LONGEST_ANSWER = 65_536


class SshUnpreparedError(Exception):
    """The server can't be reached as it stands: an error code, and a sentence that says what to do."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class UnreachableError(SshUnpreparedError):
    """No ssh server answers, which may pass by itself."""


async def prepare_ssh(settings: Settings, repository: Repository) -> None:
    """See to the key and to the server's, where the repository is behind ssh; raises `SshUnpreparedError`."""
    if place := ssh_place(repository.location):
        await publish_key(settings, repository)
        await pin(settings, repository, place)


async def publish_missing_keys(settings: Settings) -> None:
    """Make the keys of this host's repositories whose public part nobody knows yet."""
    unknown = Repository.filter(host=settings.host, ssh_public_key__isnull=True, location__startswith="ssh://")
    for repository in await unknown.using_db(reader()):
        with contextlib.suppress(SshUnpreparedError):  # its next job says it
            await publish_key(settings, repository)


async def publish_key(settings: Settings, repository: Repository) -> None:
    """Have the repository's row tell the public part of its key."""
    public = await public_key(settings, repository)
    if public != repository.ssh_public_key:
        await Repository.filter(id=repository.id).update(ssh_public_key=public)


def key_file(settings: Settings, repository: Repository) -> Path:
    """The private key: the one that was given, or the one that is made here."""
    return Path(repository.ssh_key) if repository.ssh_key else _directory(settings) / f"{repository.id}.key"


def shell_of(settings: Settings, repository: Repository) -> str:
    """`BORG_RSH` for the repository."""
    known_hosts = str(_known_hosts(settings, repository))
    return remote_shell(repository.id, str(key_file(settings, repository)), known_hosts)


async def public_key(settings: Settings, repository: Repository) -> str:
    """The public part of the repository's key, which is made here if it has none; raises `SshUnpreparedError`."""
    file = key_file(settings, repository)
    if not repository.ssh_key:
        await _make_key(file, f"locutus-{repository.name}@{settings.host}")
    with contextlib.suppress(OSError):
        return (await asyncio.to_thread(Path(f"{file}.pub").read_text)).strip()
    reply = await _run("ssh-keygen", "-y", "-P", "", "-f", str(file))
    if reply is None:
        sentence = (
            f"The ssh key {file} of {repository.name} can't be used. It must be there, without a passphrase, "
            "and the worker's user alone may read it."
        )
        raise SshUnpreparedError("ssh_key_missing", sentence)
    return reply.strip()


async def pin(settings: Settings, repository: Repository, place: SshPlace) -> None:
    """See to it that ssh knows the server by the pinned key alone; raises `SshUnpreparedError`."""
    known_hosts = _known_hosts(settings, repository)
    if await asyncio.to_thread(_pins, known_hosts, repository.host_key):
        return
    try:
        offered = await scan(place)
    except UnreachableError:
        # The run finds that too, and is then tried again; should it get through, it trusts no key of before.
        await asyncio.to_thread(known_hosts.unlink, missing_ok=True)
        return
    if not repository.host_key:
        raise _unconfirmed(repository, place, offered)
    pinned = [offer for offer in offered if offer.fingerprint == repository.host_key]
    if not pinned:
        raise _changed(repository, place, offered)
    await asyncio.to_thread(_write, known_hosts, known_hosts_line(repository.id, pinned[0]))


async def scan(place: SshPlace) -> tuple[HostKeyOffer, ...]:
    """The keys that the server offers; raises `UnreachableError`."""
    host = place.host.strip("[]")
    reply = await _run("ssh-keyscan", "-T", "10", "-p", str(place.port), "--", host)
    found = offers(reply or "")
    if not found:
        sentence = f"No ssh server answers at {place.host}, port {place.port}. Check the network and that it runs."
        raise UnreachableError("connection_lost", sentence)
    return found


def _unconfirmed(repository: Repository, place: SshPlace, offered: tuple[HostKeyOffer, ...]) -> SshUnpreparedError:
    first = offered[0]
    sentence = (
        f"Nobody has confirmed yet who {place.host} is: it offers the {first.type} key {first.fingerprint}. Compare "
        f"that with its owner, then run `locutus repo trust {repository.name} {first.fingerprint}` and this again."
    )
    return SshUnpreparedError("host_key_unconfirmed", sentence)


def _changed(repository: Repository, place: SshPlace, offered: tuple[HostKeyOffer, ...]) -> SshUnpreparedError:
    sentence = (
        f"{place.host} does not have the key {repository.host_key} by which it was trusted: it offers "
        f"{', '.join(offer.fingerprint for offer in offered)}. Find out why; if that is right, trust the new one by "
        f"`locutus repo trust {repository.name} FINGERPRINT`."
    )
    return SshUnpreparedError("host_key_unknown", sentence)


async def _make_key(file: Path, comment: str) -> None:
    if await asyncio.to_thread(file.exists):
        return
    await asyncio.to_thread(file.parent.mkdir, mode=0o700, exist_ok=True)
    made = await _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file))
    if made is None and not await asyncio.to_thread(file.exists):
        sentence = f"The ssh key {file} can't be made. Install openssh-client on the host, and look at its disk."
        raise SshUnpreparedError("ssh_key_missing", sentence)


async def _run(*argv: str) -> str | None:
    """What a program of OpenSSH prints; None where it fails."""
    try:
        reply = await ask(argv, SCAN_TIMEOUT_S, LONGEST_ANSWER)
    except OSError:  # also a TimeoutError
        return None
    return None if reply.status else reply.output.decode(errors="replace")


def _directory(settings: Settings) -> Path:
    return settings.data_dir.resolve() / "ssh"


def _known_hosts(settings: Settings, repository: Repository) -> Path:
    return _directory(settings) / f"{repository.id}.known_hosts"


def _pins(known_hosts: Path, fingerprint: str | None) -> bool:
    with contextlib.suppress(OSError):
        found = offers(known_hosts.read_text())
        return [offer.fingerprint for offer in found] == [fingerprint]
    return False


def _write(known_hosts: Path, line: str) -> None:
    known_hosts.parent.mkdir(mode=0o700, exist_ok=True)
    known_hosts.unlink(missing_ok=True)
    write_private(known_hosts, line.encode())
