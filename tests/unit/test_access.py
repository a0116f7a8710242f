"""Who may: no grant, no right; each limit of a grant counts."""

import pytest

from jobs.access import ROLE_NAMES, Grant, Principal, Role, everywhere
from jobs.errors import ForbiddenError

OPERATE = Role.OPERATE


def test_roles_include_those_below():
    rights = {(held.word, asked.word) for held in Role for asked in Role if everywhere("x", held).may(asked)}
    assert rights == {
        ("view", "view"),
        ("operate", "view"), ("operate", "operate"),
        ("administer", "view"), ("administer", "operate"), ("administer", "administer"),
    }  # fmt: skip


@pytest.mark.parametrize("word", ROLE_NAMES)
def test_role_has_a_word(word):
    assert Role.named(word).word == word


@pytest.mark.parametrize("word", ["", "root", "owner"])
def test_other_word_is_no_role(word):
    with pytest.raises(KeyError):
        Role.named(word)


@pytest.mark.parametrize(
    ("grant", "repository", "channel", "covered"),
    [
        (Grant(OPERATE), None, None, True),
        (Grant(OPERATE, repositories=["photos"]), "photos", None, True),
        (Grant(OPERATE, repositories=["photos"]), "music", None, False),
        (Grant(OPERATE, repositories=["photos"]), None, None, False),
        (Grant(OPERATE, repositories=[]), "photos", None, False),
        (Grant(OPERATE, channels=["slack:T:C"]), "photos", "slack:T:C", True),
        (Grant(OPERATE, channels=["slack:T:C"]), "photos", "slack:T:D", False),
        (Grant(OPERATE, channels=["slack:T:C"]), "photos", None, False),
        (Grant(OPERATE, channels=[]), "photos", "slack:T:C", False),
        (Grant(OPERATE, ["photos"], ["slack:T:C"]), "photos", "slack:T:D", False),
        (Grant(Role.VIEW), "photos", None, False),
    ],
)
def test_grant_covers_what_it_says(grant, repository, channel, covered):
    assert grant.covers(OPERATE, repository, channel) is covered


def test_two_grants_are_not_added_up():
    principal = Principal("x", (Grant(Role.VIEW), Grant(OPERATE, repositories=["photos"])))
    assert principal.may(OPERATE, "photos")
    assert not principal.may(OPERATE, "music")


@pytest.mark.parametrize("role", Role)
def test_nobody_may_nothing(role):
    nobody = Principal("slack:T1:U1", (), local=True)
    with pytest.raises(ForbiddenError, match=f"`locutus grant slack:T1:U1 {role.word}"):
        nobody.require(role, "photos")
