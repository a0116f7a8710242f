"""Repositories behind ssh: their places, keys, host keys and the ssh command with which borg reaches them. Pure.

Host keys are pinned by their fingerprint (sshd(8), ssh-keygen(1)); what stands behind ssh learns of nothing else.
"""

import base64
import binascii
import hashlib
import re
import shlex
from dataclasses import dataclass

CONNECT_TIMEOUT_S = 30
KEEP_ALIVE_S, KEEP_ALIVE_COUNT = 15, 4
"""A connection is given up when nothing was heard for a minute."""
DEFAULT_PORT = 22
_LOCATION = re.compile(
    r"ssh://((?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"
    r"(:(?P<port>[0-9]{1,5}))?(?P<path>/.+)"
)


@dataclass(frozen=True, slots=True)
class SshPlace:
    """Where a repository behind ssh is; an IPv6 address stands in brackets."""

    user: str | None
    host: str
    port: int
    path: str

    @property
    def server(self) -> tuple[str, int]:
        """The sshd that it is behind."""
        return self.host.lower(), self.port


@dataclass(frozen=True, slots=True)
class HostKeyOffer:
    """A key by which a server says who it is: its type, and the key in base64."""

    type: str
    key: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh-keygen shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(self.key)).digest()).decode().rstrip("=")


def ssh_place(location: str) -> SshPlace | None:
    """The place of an `ssh://` location; None for every other."""
    match = _LOCATION.fullmatch(location)
    if match is None:
        return None
    return SshPlace(match["user"], match["host"], int(match["port"] or DEFAULT_PORT), match["path"])


def alias_of(repository_id: int) -> str:
    """The name under which a repository's server stands in its known_hosts, whatever address it has."""
    return f"locutus-{repository_id}"


def remote_shell(repository_id: int, key_file: str, known_hosts: str) -> str:
    """`BORG_RSH`: a login by this key alone, to who has the pinned key alone, that never asks anybody anything."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f'"{known_hosts}"',  # a list of names, parted by spaces (ssh_config(5))
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": alias_of(repository_id),
        "CheckHostIP": "no",
        "UpdateHostKeys": "no",
        "ForwardAgent": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": str(KEEP_ALIVE_S),
        "ServerAliveCountMax": str(KEEP_ALIVE_COUNT),
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return shlex.join(["ssh", "-i", key_file, *given])


def offers(scan: str) -> tuple[HostKeyOffer, ...]:
    """The keys in what ssh-keyscan printed, the one that people compare first: ed25519, then the others."""
    found = []
    for line in scan.splitlines():
        words = line.split()
        if len(words) == 3 and not line.startswith("#") and _is_base64(words[2]):
            found.append(HostKeyOffer(words[1], words[2]))
    return tuple(sorted(found, key=lambda offer: (offer.type != "ssh-ed25519", offer.type)))


def known_hosts_line(repository_id: int, offer: HostKeyOffer) -> str:
    """The line of known_hosts that pins this key."""
    return f"{alias_of(repository_id)} {offer.type} {offer.key}\n"


def authorized_keys_line(place: SshPlace, public_key: str) -> str:
    """What the server's `authorized_keys` takes: this key may serve this repository, and nothing else."""
    path = place.path.removeprefix("/./") if place.path.startswith("/./") else place.path.replace("/~/", "", 1)
    command = f"borg serve --restrict-to-repository {shlex.quote(path)}"
    quoted = command.replace("\\", "\\\\").replace('"', '\\"')
    return f'command="{quoted}",restrict {public_key.strip()}'


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
