"""`/backup archives REPO`: the newest archives, or a job that asks the host for the whole list anew."""

from dataclasses import replace

from pydantic import BaseModel, Field

from bot import wording
from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values, flags_of
from bot.commands.lookup import repository_named
from bot.commands.outcome import told
from bot.commands.starting import job_request
from jobs.command_words import REPOSITORY
from jobs.database.unit import reader
from jobs.models import Archive, Repository
from jobs.submit import submit_or_ask

SHOWN = 20


class ArchivesFlags(BaseModel):
    """What `archives` takes beside the repository."""

    refresh: bool = Field(default=False, description="ask the host for the list anew")


async def _archives(asker: Asker, values: Values) -> Answer:
    repository = await repository_named(asker, values["repository"])
    if values.get("refresh"):
        request = replace(job_request(asker, "list_archives"), repository=repository.name)
        return await told(await submit_or_ask(request))
    rows = Archive.filter(repository_id=repository.id).using_db(reader())
    newest = await rows.order_by("-started_at", "-id").limit(SHOWN + 1)
    lines = [_line(row) for row in newest[:SHOWN]] + ["…"] * (len(newest) > SHOWN)
    return Answer("\n".join(lines) or _none(repository))


def _line(archive: Archive) -> str:
    figures = [wording.moment(archive.started_at)]
    if archive.nfiles is not None:
        figures.append(wording.count(archive.nfiles, "file"))
    if archive.original_size is not None:
        figures.append(wording.size(archive.original_size))
    return f"`{wording.one_line(archive.name)}`: {', '.join(figures)}"


def _none(repository: Repository) -> str:
    return (
        f"No archive of {repository.name} is known. `/backup archives {repository.name} --refresh` asks its host for "
        "the list."
    )


COMMANDS = (
    Command(
        "archives", "shows a repository's newest archives", _archives,
        positionals=(REPOSITORY,), flags=flags_of(ArchivesFlags),
    ),
)  # fmt: skip
