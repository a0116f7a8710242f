"""Archive names: known before borg runs, and taken by borg as they are."""

import socket
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import archive_name
from jobs.archive_name import DEFAULT_TEMPLATE, LONGEST_NAME, NameFacts, expand
from jobs.errors import InvalidRequestError

FACTS = NameFacts(repository="photos", job_id=7, utcnow=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), schedule="nightly")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (DEFAULT_TEMPLATE, "photos-2026-01-02T03:04:05"),
        ("{utcnow}", "2026-01-02T03:04:05"),
        ("{utcnow:%Y%m%d}", "20260102"),
        ("{repository}-{job}", "photos-7"),
        ("{schedule}-{job}", "nightly-7"),
        ("plain", "plain"),
        ("50 % done", "50 % done"),
        ("ä-{job}", "ä-7"),
    ],
)
def test_template_becomes_its_name(template, name):
    assert expand(template, FACTS) == name


def test_placeholders_of_the_machine(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "nas.example.org")
    monkeypatch.setattr(archive_name, "getuser", lambda: "alice")
    assert expand("{user}@{hostname} of {fqdn}", FACTS) == "alice@nas of nas.example.org"


def test_local_time_is_the_same_moment():
    local = FACTS.utcnow.astimezone()
    assert expand("{now:%Y-%m-%d %H.%M}", FACTS) == local.strftime("%Y-%m-%d %H.%M")


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("No username set in the environment")])
def test_user_without_a_name_is_its_number(monkeypatch, error):
    def nameless():
        raise error

    monkeypatch.setattr(archive_name, "getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    assert expand("{user}", FACTS) == "1234"
    assert expand(DEFAULT_TEMPLATE, FACTS)


@pytest.mark.parametrize(
    "template", ["{nonsense}", "{}", "{0}", "{repository.upper}", "{job[0]}", "{utcnow!r}", "{job", "}"]
)
def test_placeholder_that_there_is_not_is_refused_with_those_there_are(template):
    with pytest.raises(InvalidRequestError, match=r"archive_name_template.*\{hostname\}.*\{utcnow\}"):
        expand(template, FACTS)


@pytest.mark.parametrize("template", ["{repository:>999999999}", "{job:0999999999}", "{job:c}", "{schedule:x}"])
def test_only_times_take_a_format(template):
    with pytest.raises(InvalidRequestError, match="only times"):
        expand(template, FACTS)


@pytest.mark.parametrize(
    "template",
    [
        "",
        " ",
        " x",
        "x ",
        "a/b",
        "a\\b",
        "a::b",
        "{{x}}",
        "{utcnow:{job}}",
        "a\nb",
        "a\0b",
        "a\x1b[2Jb",
        "a\x7fb",
        "x" * (LONGEST_NAME + 1),
    ],
)
def test_name_that_borg_would_refuse_or_misread_is_refused(template):
    with pytest.raises(InvalidRequestError, match="archive_name_template"):
        expand(template, FACTS)


PARTS = ["{repository}", "{job}", "{utcnow}", "{utcnow:%d}", "{{", "}}", "{", "}", ":", "/", " ", "!r", "%"]


@given(st.lists(st.one_of(st.text(max_size=5), st.sampled_from(PARTS))).map("".join))
def test_any_template_is_refused_or_makes_a_name_that_borg_takes(template):
    try:
        name = expand(template, FACTS)
    except InvalidRequestError:
        return
    assert name
    assert name == name.strip()
    assert "::" not in name
    assert not set(name) & set("/\\{}\0\n\r\t")


@given(st.integers(1, 2**31 - 1), st.datetimes(min_value=datetime(1990, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)))  # noqa: DTZ001 - hypothesis wants bounds without a zone
def test_default_makes_a_name_at_any_time(job_id, at):
    assert expand(DEFAULT_TEMPLATE, NameFacts("photos", job_id, at)).startswith("photos-")
