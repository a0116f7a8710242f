"""How a command is written, on a made-up catalogue: words, quotes, flags, suggestions."""

import shlex
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from bot.commands.declaration import Command, Flag, FlagType, flags_of
from bot.commands.grammar import checked, command_of, split, values_of
from jobs.command_words import REPOSITORY, Positional, WordType
from jobs.errors import InvalidRequestError, RequestRefusedError
from jobs.job_type import Parameters


class Keeping(Parameters):
    keep_daily: int | None = Field(default=None, ge=1, description="Days to keep.")
    share: float = 1.0
    dry_run: bool = False
    patterns: Annotated[list[str], Field(max_length=3)] = Field(default_factory=list)
    mode: Literal["fast", "sure"] = "fast"
    note: str | None = None


async def nothing(asker, values):
    raise AssertionError


ARCHIVE = Positional("archive", WordType.ARCHIVE)
PATHS = Positional("paths", placeholder="PATH", required=False, many=True)
DESTINATION = Positional("destination", after="to")
COMMANDS = {
    command.name: command
    for command in (
        Command("prune", "prunes", nothing, positionals=(REPOSITORY,), flags=flags_of(Keeping)),
        Command("restore", "restores", nothing, positionals=(REPOSITORY, ARCHIVE, PATHS, DESTINATION)),
        Command("logs", "shows", nothing, positionals=(Positional("job", WordType.JOB, "JOB"),)),
        Command("schedule add", "adds", nothing),
        Command("schedule list", "lists", nothing),
        Command("help", "helps", nothing),
    )
}


def read(text):
    command, words = command_of(split(text), COMMANDS)
    return command.name, checked(command, values_of(command, words))


@pytest.mark.parametrize(
    ("typed", "name", "values"),
    [
        ("prune photos", "prune", {"repository": "photos"}),
        ("PRUNE Photos", "prune", {"repository": "Photos"}),
        ("prune photos --keep-daily 7", "prune", {"repository": "photos", "keep_daily": "7"}),
        ("prune --keep-daily=7 photos", "prune", {"repository": "photos", "keep_daily": "7"}),
        ("prune photos —keep-daily 7", "prune", {"repository": "photos", "keep_daily": "7"}),
        ("prune photos --keep_daily 7", "prune", {"repository": "photos", "keep_daily": "7"}),
        ("prune photos --dry-run", "prune", {"repository": "photos", "dry_run": True}),
        ("prune photos --dry-run=no", "prune", {"repository": "photos", "dry_run": False}),
        ("prune photos --no-dry-run", "prune", {"repository": "photos", "dry_run": False}),
        ("prune --patterns a --patterns 'b c' photos", "prune", {"repository": "photos", "patterns": ["a", "b c"]}),
        ("prune photos --note=", "prune", {"repository": "photos", "note": ""}),
        ("prune photos --note --dry-run", "prune", {"repository": "photos", "note": "--dry-run"}),
        ("prune -- --dry-run", "prune", {"repository": "--dry-run"}),
        ("restore photos a1 to /r", "restore", {"repository": "photos", "archive": "a1", "destination": "/r"}),
        (
            "restore photos a1 home/a “home/b c” TO '/my restore'",
            "restore",
            {
                "repository": "photos",
                "archive": "a1",
                "paths": ["home/a", "home/b c"],
                "destination": "/my restore",
            },
        ),
        (
            "restore photos a1 to to /r",
            "restore",
            {"repository": "photos", "archive": "a1", "paths": ["to"], "destination": "/r"},
        ),
        ("logs #7", "logs", {"job": 7}),
        ("logs 7", "logs", {"job": 7}),
        ("schedule add", "schedule add", {}),
        ("Schedule ADD", "schedule add", {}),
        ("", "help", {}),
    ],
)
def test_command_is_read(typed, name, values):
    assert read(typed) == (name, values)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("prnue photos", "There is no command 'prnue'. Did you mean `/backup prune`?"),
        ("dance", "There is no command 'dance'. `/backup help` shows the commands there are."),
        ("schedule ad", "There is no command 'schedule ad'. Did you mean `/backup schedule add`?"),
        (
            "schedule",
            "There is no command 'schedule'. There are `/backup schedule add`, `/backup schedule list`.",
        ),
        ("schedul list", "There is no command 'schedul'. Did you mean `/backup schedule list`?"),
        ("prune photos --keep-dayly 7", "there is no '--keep-dayly' for `prune`. Did you mean `--keep-daily`?"),
        ("prune photos --zz", "there is no '--zz' for `prune`. `/backup help prune` shows what can be said."),
        ("prune photos --no-note", "there is no '--no-note' for `prune`."),
        ("prune photos --keep-daily", "keep_daily: say what: `--keep-daily INTEGER`."),
        ("prune photos --mode quick", "mode: give one of fast, sure."),
        ("prune photos --mode suer", "mode: give one of fast, sure. Did you mean `sure`?"),
        ("prune photos --dry-run=maybe", "dry_run: give true or false."),
        ("prune", "write `/backup prune REPO`."),
        ("prune a b", "write `/backup prune REPO`."),
        ("restore photos a1 /r", "write `/backup restore REPO ARCHIVE [PATH…] to DESTINATION`."),
        ("logs seven", "job: write the job's number: `/backup logs JOB`."),
        ("logs 1234567890", "job: write the job's number: `/backup logs JOB`."),
        ("prune 'photos", "a quotation mark is not closed."),
    ],
)
def test_what_can_not_be_read_is_told_with_what_was_meant(typed, said):
    with pytest.raises(RequestRefusedError) as refused:
        read(typed)
    assert said in str(refused.value)


def test_flags_follow_from_the_model():
    assert flags_of(Keeping, without={"note"}) == (
        Flag("keep_daily", FlagType.INTEGER, (), "Days to keep."),
        Flag("share", FlagType.NUMBER),
        Flag("dry_run", FlagType.SWITCH),
        Flag("patterns", FlagType.LIST),
        Flag("mode", FlagType.TEXT, ("fast", "sure")),
    )


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text):
    try:
        said, _ = read(text)
    except RequestRefusedError as refused:
        said = str(refused)
    assert len(said) < 600


plain = st.text(min_size=1).filter(lambda word: not word.startswith(("--", "–", "—")) and word.lower() != "to")


@given(plain, plain, st.lists(plain, max_size=4), plain)
def test_quoted_words_come_through_as_they_are(repository, archive, paths, destination):
    typed = shlex.join(["restore", repository, archive, *paths, "to", destination])
    if any(sign in typed for sign in "“”„«»–—"):
        return
    _, values = read(typed)
    assert values == {
        "repository": repository,
        "archive": archive,
        **({"paths": paths} if paths else {}),
        "destination": destination,
    }


def test_missing_word_is_missed_also_where_it_came_by_field():
    with pytest.raises(InvalidRequestError):
        checked(COMMANDS["prune"], {"repository": ""})
