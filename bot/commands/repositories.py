"""The commands for repositories: what there is, and adding one."""

from pydantic import ValidationError

from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values, flags_of
from bot.commands.lookup import only_host
from bot.commands.watching import list_repositories
from jobs import repositories
from jobs.access import Role
from jobs.command_words import Positional
from jobs.errors import InvalidRequestError
from jobs.field_errors import field_name, reason
from jobs.repository_fields import PASSPHRASE_SOURCES, NewRepository

_NOT_FROM_CHAT = frozenset({*PASSPHRASE_SOURCES, "ssh_key", "ssh_key_file", "remote_path"})
"""Secrets, and what names them: chat keeps what is typed into it; and the program that a server runs."""
_WORDS = (
    Positional("name", placeholder="NAME", help="what it is to be called"),
    Positional("location", placeholder="LOCATION", help="an absolute path of its host, or ssh://user@host/path"),
    Positional("source_directories", placeholder="SOURCE", many=True, help="what is backed up into it"),
)


async def _add(asker: Asker, values: Values) -> Answer:
    new = _read(values)
    asker.principal.require(Role.ADMINISTER, None, asker.channel)
    who = repositories.Asker(asker.principal, asker.origin, asker.channel)
    added = await repositories.add(who, new, default_host=new.host or await only_host())
    row = added.repository
    text = f"The repository {row.name} on {row.host} is added."
    if added.init_job is None:
        return Answer(f"{text} `/backup run {row.name}` makes the first archive.")
    return Answer(f"{text} Job #{added.init_job.id} makes it at {row.location}.", added.init_job.id)


def _read(values: Values) -> NewRepository:
    try:
        return NewRepository.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidRequestError(field_name(first), reason(first)) from error


COMMANDS = (
    Command("repo list", "shows the repositories", list_repositories),
    Command(
        "repo add", "adds a repository", _add, Role.ADMINISTER, _WORDS,
        flags_of(NewRepository, without={*(word.name for word in _WORDS), *_NOT_FROM_CHAT}),
    ),
)  # fmt: skip
