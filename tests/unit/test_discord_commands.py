"""`/backup` on Discord: typed options, and a form for what lacks, made from the declaration of a command."""

import pytest

from bot.commands import COMMANDS, Answer
from bot.commands.declaration import Command, Flag, FlagType
from bot.commands.starting import commands
from bot.discord.command_tree import command_in, registration, values_in
from bot.discord.modal import asks_for_more, modal, submitted
from bot.discord.payload import Data, Interaction, InvalidInteractionError, parsed
from jobs.command_words import REPOSITORY, Positional, WordType
from jobs.errors import NotFoundError
from jobs.types import JOB_TYPES
from jobs.types.backup import Backup
from tests.fakes.discord_interactions import command_data, interaction
from tests.fakes.discord_rules import command_faults, response_faults


async def nothing(*_):
    return Answer("done")


RESTORE = Command(
    "restore",
    "restores an archive",
    nothing,
    positionals=(
        REPOSITORY,
        Positional("archive", WordType.ARCHIVE),
        Positional("paths", placeholder="PATH", required=False, many=True, help="what of it"),
        Positional("destination", after="to"),
    ),
    flags=(Flag("overwrite", FlagType.SWITCH), Flag("strip", FlagType.INTEGER), Flag("exclude", FlagType.LIST)),
)
RETRY = Command("schedule retry", "runs again", nothing, positionals=(Positional("job", WordType.JOB),))
PRIORITY = Command("run", "starts", nothing, flags=(Flag("priority", choices=("high", "low")),))
TREE = {command.name: command for command in (RESTORE, RETRY, PRIORITY)}
KNOWN = [registration(TREE)]


def sent(name, **options):
    return Data.model_validate(command_data(KNOWN, name, None, options))


def test_options_are_typed_completed_and_ordered_as_discord_wants_it():
    (command,) = KNOWN
    assert list(command_faults(command)) == []
    restore, schedule, run = command["options"]
    shape = [(one["name"], one["type"], one["required"], one.get("autocomplete", False)) for one in restore["options"]]
    assert shape == [
        ("repository", 3, True, True),
        ("archive", 3, True, True),
        ("paths", 3, False, False),
        ("destination", 3, False, False),
        ("overwrite", 5, False, False),
        ("strip", 4, False, False),
        ("exclude", 3, False, False),
    ]
    assert (schedule["type"], schedule["options"][0]["name"]) == (2, "retry")
    assert schedule["options"][0]["options"][0] | {"description": ""} == {
        "type": 4, "name": "job", "description": "", "required": True, "min_value": 1, "autocomplete": True,
    }  # fmt: skip
    assert [choice["value"] for choice in run["options"][0]["choices"]] == ["high", "low"]


def test_all_commands_have_room_for_another_type_with_many_parameters(monkeypatch):
    class Dump(Backup):
        kind, command_word = "database_dump", "dump"

    monkeypatch.setitem(JOB_TYPES, Dump.kind, Dump())
    starting = {command.name: command for command in commands()}
    assert "dump" in starting
    assert list(command_faults(registration({**COMMANDS, **starting}))) == []


def test_a_start_offers_only_what_may_follow_it():
    after = {command.name: flag.choices for command in commands() for flag in command.flags if flag.name == "then"}
    assert after == dict.fromkeys(("run", "check", "prune", "compact"), ("check", "compact", "prune"))


def test_values_come_by_field_and_what_stands_several_times_is_split():
    data = sent("restore", repository="photos", archive="a", paths="'my files' /x", destination="/r", overwrite=False,
                strip=2, exclude="*.tmp *.o")  # fmt: skip
    command, options = command_in(data, TREE)
    assert command is RESTORE
    assert values_in(command, options) == {
        "repository": "photos",
        "archive": "a",
        "paths": ["my files", "/x"],
        "destination": "/r",
        "overwrite": False,
        "strip": 2,
        "exclude": ["*.tmp", "*.o"],
    }


def test_command_of_a_group_is_found():
    command, options = command_in(sent("schedule retry", job=7), TREE)
    assert (command, values_in(command, options)) == (RETRY, {"job": 7})


@pytest.mark.parametrize("name", ["explode", "schedule", ""])
def test_command_that_is_not_known_is_named(name):
    with pytest.raises(NotFoundError, match="locutus discord sync"):
        command_in(Data(name="backup", options=({"name": name, "options": ()},) if name else ()), TREE)


def test_form_asks_for_all_words_and_keeps_what_was_said():
    values = {"repository": "photos", "archive": "a", "paths": ["/x", "/y z"], "overwrite": True}
    assert asks_for_more(RESTORE, values)
    assert not asks_for_more(RESTORE, {**values, "destination": "/r"})
    form = modal(RESTORE, values)
    assert list(response_faults({"type": 9, "data": form}, 2)) == []
    filled = [
        {"type": 18, "component": label["component"] | {"value": label["component"].get("value", "/restored")}}
        for label in form["components"]
    ]
    data = parsed(interaction("1", 5, {"custom_id": form["custom_id"], "components": filled})).data
    assert submitted(data, TREE) == (RESTORE, {**values, "destination": "/restored"})


def test_form_that_can_not_hold_the_flags_is_not_shown():
    assert modal(RESTORE, {"exclude": ["x" * 100]}) is None


def test_form_of_another_release_is_said_to_be_unknown():
    with pytest.raises(NotFoundError, match="Write the command again"):
        submitted(Data(custom_id="ask:explode"), TREE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_form_that_discord_takes(name):
    form = modal(COMMANDS[name], {})
    assert form is None or not COMMANDS[name].positionals or not list(response_faults({"type": 9, "data": form}, 2))


def test_subjects_are_the_user_and_the_roles_of_the_server():
    asked = parsed(interaction("1", 2, None, user="3", roles=["4", "5"]))
    assert asked.subjects == ("discord:100:3", "discord:100:role:4", "discord:100:role:5")
    assert Interaction(id="1", type=2).subjects == ()


@pytest.mark.parametrize(
    "change", [{"id": "1:2"}, {"guild_id": "1:2"}, {"member": {"user": {"id": "3:x"}}}, {"type": 9}]
)
def test_ids_that_are_none_are_refused(change):
    with pytest.raises(InvalidInteractionError):
        parsed({**interaction("1", 2, None), **change})
