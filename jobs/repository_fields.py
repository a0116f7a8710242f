"""What may be said of a repository, checked field by field. Pure.

Locations, sources and patterns become arguments of borg and ssh: what either would take for something else is refused.
https://borgbackup.readthedocs.io/en/stable/usage/general.html#repository-urls
"""

import hashlib
import posixpath
import re
from collections.abc import Callable
from datetime import UTC, datetime
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints

from jobs.archive_name import DEFAULT_TEMPLATE, NameFacts, expand
from jobs.errors import InvalidRequestError
from jobs.settings import whole_seconds
from jobs.ssh import ssh_place

RESERVED_NAMES = frozenset({"check-jobs", "compact-jobs", "prune-jobs"})
PASSPHRASE_SOURCES = ("passphrase", "passphrase_file", "passphrase_command")
LANE_LENGTH = 32
PATH_LENGTH = 4096
NAME_LIMIT = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_COMPRESSION = (
    r"^(obfuscate,[0-9]{1,3},)?(auto,)?"
    r"(none|lz4|zstd(,([1-9]|1[0-9]|2[0-2]))?|(zlib|lzma)(,[0-9])?)$"
)

Encryption = Literal[
    "none", "authenticated", "authenticated-blake2", "repokey", "repokey-blake2", "keyfile", "keyfile-blake2"
]


def _refusing(reason: str, acceptable: Callable[[str], object]) -> AfterValidator:
    def check(value: str) -> str:
        if not acceptable(value):
            raise ValueError(reason)
        return value

    return AfterValidator(check)


def _plain(text: str) -> bool:
    return _CONTROL.search(text) is None


def _one_line(secret: SecretStr) -> SecretStr:
    if not _plain(secret.get_secret_value()):
        raise ValueError("a passphrase is one line without control characters")
    return secret


def _is_name(text: str) -> bool:
    return bool(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", text)) and not text.isdigit() and text not in RESERVED_NAMES


def _is_pattern(text: str) -> bool:
    return _plain(text) and not text.startswith("-")


def _is_location(text: str) -> bool:
    ssh = ssh_place(text)
    path = ssh.path if ssh else text
    # `::` parts repository and archive; borg expands braces.
    return path.startswith("/") and _plain(text) and not any(sign in path for sign in ("::", "{", "}"))


RepositoryName = Annotated[
    str,
    _refusing("use at most 63 of a-z, 0-9, '.', '_' and '-', not digits alone, and no reserved word", _is_name),
]
Location = Annotated[
    str,
    StringConstraints(max_length=PATH_LENGTH),
    _refusing("give an absolute path or ssh://user@host:port/path, without '::', braces or a password", _is_location),
]
AbsolutePath = Annotated[
    str,
    StringConstraints(max_length=PATH_LENGTH),
    _refusing("give an absolute path", lambda text: text.startswith("/") and _plain(text)),
]
Pattern = Annotated[
    str,
    StringConstraints(min_length=1, max_length=PATH_LENGTH),
    _refusing("a pattern has no control character, and no '-' at its start", _is_pattern),
]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]
Channel = Annotated[
    str,
    StringConstraints(max_length=255),
    _refusing(
        "write console, slack:TEAM:CHANNEL or discord:GUILD:CHANNEL",
        re.compile(r"console|slack:[A-Z0-9]+:[A-Z0-9]+|discord:[0-9]+:[0-9]+").fullmatch,
    ),
]
Passphrase = Annotated[SecretStr, Field(min_length=1, max_length=1024), AfterValidator(_one_line)]
Command = Annotated[list[Annotated[str, StringConstraints(max_length=PATH_LENGTH)]], Field(min_length=1, max_length=64)]
Compression = Annotated[str, StringConstraints(pattern=_COMPRESSION)]
Patterns = Annotated[list[Pattern], Field(max_length=1000)]
Age = Annotated[int, BeforeValidator(whole_seconds), Field(ge=60, le=366 * 86_400, description="Seconds, or 26h.")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
# A shell on the server reads it.
RemoteProgram = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./~][A-Za-z0-9_./~+-]{0,254}$")]
Template = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LIMIT)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    exclude_patterns: Patterns = Field(default_factory=list)
    compression: Compression = "lz4"
    channel: Channel | None = None
    passphrase: Passphrase | None = None
    passphrase_file: AbsolutePath | None = None
    passphrase_command: Command | None = None
    archive_name_template: Template = DEFAULT_TEMPLATE
    check_interval_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    check_max_duration: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    expected_every: Age | None = None
    ssh_key: AbsolutePath | None = None
    host_key: Fingerprint | None = None
    remote_path: RemoteProgram | None = None
    upload_ratelimit: Annotated[int, Field(ge=1, le=100_000_000)] | None = None

    @property
    def passphrase_given(self) -> bool:
        """Whether any way to the passphrase is given."""
        return any(getattr(self, source) is not None for source in PASSPHRASE_SOURCES)


class NewRepository(_Fields):
    """A repository to be added. Without `encryption` it is taken for encrypted when a passphrase is given."""

    name: RepositoryName
    location: Location
    source_directories: list[AbsolutePath] = Field(min_length=1, max_length=1000)
    encryption: Encryption | None = None
    host: HostName | None = None
    init: bool = False


class RepositoryChange(_Fields):
    """The fields to change; those not given stay as they are."""

    name: RepositoryName = ""
    location: Location = ""
    source_directories: list[AbsolutePath] = Field(default_factory=list, min_length=1, max_length=1000)
    encryption: Encryption = "none"
    host: HostName = ""

    def given(self) -> dict[str, Any]:
        """Only the fields that were said, with their values."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def lane_of(location: str, host: str) -> str:
    """The lane of a location: the same for every spelling of one place, as far as the spelling shows it.

    Who logs in matters only where the path starts at that user's home.
    """
    ssh = ssh_place(location)
    if ssh is None:
        place = f"{host}:{posixpath.normpath(location)}"
    else:
        login = f"{ssh.user}@" if ssh.path.startswith(("/./", "/~")) else ""
        spelled = ssh.path if login else posixpath.normpath(ssh.path)
        server, port = ssh.server
        place = f"ssh://{login}{server}:{port}{spelled}"
    return hashlib.sha256(place.encode()).hexdigest()[:LANE_LENGTH]


def archive_glob_of(template: str, repository: str, schedule: str = "") -> str:
    """The pattern of the archives that `template` makes: `{repository}` and a known `{schedule}` expanded, every other
    placeholder `*`.

    Raises `InvalidRequestError` for a template that borg would refuse, that makes one name twice, or whose pattern
    would match every archive.
    """
    _check_template(template, repository)
    known = {"repository": repository, "schedule": schedule}
    pieces = []
    for literal, field, _, _ in Formatter().parse(template):
        pieces.append(_literally(literal))
        if field is not None:
            pieces.append(_literally(known.get(field, "")) or "*")
    glob = re.sub(r"\*+", "*", "".join(pieces))
    if not re.search(r"[A-Za-z0-9]", glob):
        raise _bad_template(template, "needs a fixed part, such as {repository}, to tell its archives from others")
    return glob


def _check_template(template: str, repository: str) -> None:
    first = NameFacts(repository=repository, job_id=1, utcnow=datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC))
    later = NameFacts(repository=repository, job_id=2, utcnow=datetime(2012, 11, 10, 9, 8, 7, tzinfo=UTC))
    name = expand(template, first)
    if name == expand(template, later):
        raise _bad_template(template, "makes the same name twice: it needs {utcnow}, {now} or {job}")
    if len(name) > NAME_LIMIT:
        raise _bad_template(template, f"makes a name longer than {NAME_LIMIT} characters")


def _literally(literal: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", literal)


def _bad_template(template: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError("archive_name_template", f"{template!r} {reason}.")
