"""What can be told of a command without looking anything up: who is let in, how it is read, what is echoed."""

import pytest

from bot.commands import COMMANDS, Asker, answer
from jobs.access import Grant, Principal, Role, everywhere

CHANNEL = "slack:T1:C1"


def asker(*grants):
    return Asker(Principal("slack:T1:U1", grants), "slack", CHANNEL)


NOBODY = asker()


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("run photos", "operate --repository photos"),
        ("run nope", "operate --repository nope"),
        ("run", "operate"),
        ("run 1", "operate"),
        ("run 'a b; reboot'", "operate"),
        ("RUN photos", "operate --repository photos"),
        ("status", "view"),
        ("status 2", "view"),
        ("list", "view"),
        ("history", "view"),
        ("history photos", "view --repository photos"),
        ("logs 2", "view"),
        ("logs 9999", "view"),
        ("logs", "view"),
        ("cancel 2", "operate"),
        ("retry 2", "operate"),
    ],
)
async def test_unknown_asker_is_refused_with_the_grant_before_anything_is_looked_up(typed, command):
    reply = await answer(typed, NOBODY)
    assert reply.refused
    assert reply.text.endswith(f"`locutus grant slack:T1:U1 {command}`")


async def test_every_command_but_help_is_refused_to_an_unknown_asker():
    refused = {name for name in COMMANDS if (await answer(name, NOBODY)).refused}
    assert refused == COMMANDS.keys() - {"help"}


@pytest.mark.parametrize(
    "grant",
    [
        Grant(Role.ADMINISTER, channels=["slack:T1:C2"]),
        Grant(Role.ADMINISTER, repositories=["photos"], channels=["slack:T1:C2"]),
        Grant(Role.ADMINISTER, repositories=[]),
    ],
)
async def test_grant_that_covers_nothing_here_lets_nobody_in(grant):
    reply = await answer("status", asker(grant))
    assert reply.refused
    assert "locutus grant slack:T1:U1 view" in reply.text


@pytest.mark.parametrize("typed", ["HELP", "Help", "help", ""])
async def test_command_word_is_read_in_any_case(typed):
    assert await answer(typed, NOBODY) == await answer("help", NOBODY)


@pytest.mark.parametrize(
    "flag", ["--remote-path", "--passphrase", "--passphrase-file", "--passphrase-command", "--ssh-key"]
)
async def test_secrets_and_programs_are_not_taken_from_chat(flag):
    reply = await answer(
        f"repo add off ssh://b@srv.example/./r /home --host nas {flag} x",
        Asker(everywhere("x", Role.ADMINISTER), "slack", CHANNEL),
    )
    assert reply.refused
    assert f"there is no '{flag}'" in reply.text


@pytest.mark.parametrize("typed", ["restart", "restart photos"])
async def test_unknown_command_is_answered_with_what_there_is(typed):
    assert "There is no command 'restart'." in (await answer(typed, NOBODY)).text


async def test_echo_of_a_long_word_is_clipped():
    reply = await answer("x" * 10_000, Asker(everywhere("x", Role.VIEW), "slack", CHANNEL))
    assert len(reply.text) < 200


async def test_help_explains_one_command_with_what_can_be_said():
    text = (await answer("help run", NOBODY)).text
    assert text.startswith("`/backup run REPO` – starts a backup\n")
    assert "`--priority high|normal|low`" in text
    assert text.endswith("It takes the role operate.")


async def test_help_for_a_mistyped_command_suggests_the_right_one():
    assert "Did you mean `/backup status`?" in (await answer("help statsu", NOBODY)).text
