"""What may be said of a repository: each refusal keeps something out of borg's or ssh's arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.errors import InvalidRequestError
from jobs.repository_fields import NewRepository, RepositoryChange, archive_glob_of, lane_of

GOOD = {"name": "photos", "location": "/srv/photos", "source_directories": ["/home"]}


def refused(**fields):
    with pytest.raises(ValidationError) as caught:
        NewRepository.model_validate(GOOD | fields)
    return {str(error["loc"][0]) for error in caught.value.errors()}


@pytest.mark.parametrize("name", ["a", "photos", "2024-x", "a.b_c-d", "0a", "a" * 63])
def test_name_of_the_grammar_is_accepted(name):
    assert NewRepository.model_validate(GOOD | {"name": name}).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "7",
        "123",
        "Photos",
        "-a",
        ".a",
        "a b",
        "a/b",
        "a" * 64,
        "check-jobs",
        "compact-jobs",
        "prune-jobs",
        "é",
        "a\n",
    ],
)
def test_other_name_is_refused(name):
    assert refused(name=name) == {"name"}


@pytest.mark.parametrize(
    "location",
    [
        "/srv/photos", "/srv/with space/é", "/srv/a:b", "ssh://host/srv/x", "ssh://u@host:2222/./x", "ssh://u@host/~/x",
        "ssh://u@10.0.0.1/x", "ssh://u@[::1]:22/x", "ssh://u_1@backup.example.com/x",
    ],
)  # fmt: skip
def test_absolute_path_or_ssh_url_is_a_location(location):
    assert NewRepository.model_validate(GOOD | {"location": location}).location == location


@pytest.mark.parametrize(
    "location",
    [
        "", " ", "srv/photos", "-rf", "--rsh=sh", "host:/srv", "u@host:srv", "~/x", "/a::b", "ssh://h/a::b", "/a\nb",
        "/a\x00b", "/a\x7f", "ssh://h/a\tb", "/srv/{now}", "ssh://h/{user}", "ssh://-oProxyCommand=x/y", "ssh://-u@h/x",
        "ssh://u:secret@h/x", "ssh://h", "ssh:///x", "ssh://h x/y", "ssh://h:99999999/x", "http://h/x", "file:///srv/x",
        "/" + "a" * 4096,
    ],
)  # fmt: skip
def test_anything_else_is_no_location(location):
    assert refused(location=location) == {"location"}


@pytest.mark.parametrize("sources", [[], ["home"], ["-"], ["/home", ""], ["/a\nb"], None, "/home"])
def test_sources_are_absolute_paths_and_at_least_one(sources):
    assert refused(source_directories=sources) == {"source_directories"}


@pytest.mark.parametrize(
    "value", ["none", "lz4", "zstd", "zstd,22", "zlib,9", "lzma,0", "auto,zstd,3", "obfuscate,110,lz4"]
)
def test_compression_of_borg_is_accepted(value):
    assert NewRepository.model_validate(GOOD | {"compression": value}).compression == value


@pytest.mark.parametrize("value", ["", "gzip", "zstd,23", "zlib,10", "lz4,1", "auto", "lz4 --rsh=x", "-lz4"])
def test_other_compression_is_refused(value):
    assert refused(compression=value) == {"compression"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encryption", "aes"), ("host", "-h"), ("host", "a b"), ("host", ""), ("channel", "#general"),
        ("channel", "slack:T1"),
        ("exclude_patterns", ["-x"]), ("exclude_patterns", [""]), ("exclude_patterns", ["a\nb"]), ("passphrase", ""),
        ("passphrase", "a\nb"), ("passphrase_file", "secret"), ("passphrase_command", []), ("rsh", "sh"),
    ],
)  # fmt: skip
def test_other_bad_field_is_refused_by_name(field, value):
    assert refused(**{field: value}) == {field}


def test_passphrase_stands_in_no_representation():
    fields = NewRepository.model_validate(GOOD | {"passphrase": "hunter2"})
    assert "hunter2" not in f"{fields!r} {fields} {fields.model_dump_json()}"


@pytest.mark.parametrize("field", ["name", "location", "source_directories", "host", "encryption"])
def test_change_can_not_take_a_needed_field_away(field):
    with pytest.raises(ValidationError):
        RepositoryChange.model_validate({field: None})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/srv/x", "/srv//x/"), ("/srv/x", "/srv/y/../x"), ("ssh://h/x", "ssh://H:22/x/"), ("ssh://a@h/x", "ssh://b@h/x"),
    ],
)  # fmt: skip
def test_two_spellings_of_a_place_share_a_lane(one, other):
    assert lane_of(one, "nas") == lane_of(other, "nas")
    assert len(lane_of(one, "nas")) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/srv/x", "/srv/y"), ("ssh://h/x", "ssh://h/./x"), ("ssh://a@h/./x", "ssh://b@h/./x"), ("ssh://h/x", "ssh://h:23/x"),
        ("ssh://h/x", "/x"),
    ],
)  # fmt: skip
def test_two_places_have_two_lanes(one, other):
    assert lane_of(one, "nas") != lane_of(other, "nas")


def test_local_path_is_a_place_of_its_host_and_a_remote_one_is_the_same_from_everywhere():
    assert lane_of("/srv/x", "nas") != lane_of("/srv/x", "web")
    assert lane_of("ssh://h/srv/x", "nas") == lane_of("ssh://h/srv/x", "web")


@pytest.mark.parametrize(
    ("template", "glob"),
    [
        ("{repository}-{utcnow:%Y-%m-%dT%H:%M:%S}", "photos-*"),
        ("daily-{repository}-{hostname}-{now}", "daily-photos-*-*"),
        ("x{hostname}{job}", "x*"), ("a*b[{job}", "a[*]b[[]*"), ("{repository}{job}", "photos*"),
    ],
)  # fmt: skip
def test_glob_matches_what_the_template_makes(template, glob):
    assert archive_glob_of(template, "photos") == glob


@pytest.mark.parametrize(
    "template",
    [
        "{now}",
        "{hostname}-{job}",
        "photos",
        "{repository}",
        "{nothing}-{job}",
        "a/{job}",
        "a::{job}",
        "{repository!r}{job}",
        "{",
        "a{job:>300}",
    ],
)
def test_template_that_would_harm_is_refused(template):
    with pytest.raises(InvalidRequestError) as caught:
        archive_glob_of(template, "photos")
    assert caught.value.field == "archive_name_template"


@given(st.text())
def test_no_text_becomes_a_location_that_borg_or_ssh_could_misread(text):
    try:
        location = NewRepository.model_validate(GOOD | {"location": text}).location
    except ValidationError:
        return
    assert location.startswith(("/", "ssh://"))
    assert not {"\n", "\0", "{", "}"} & set(location)


@given(st.text())
def test_any_template_is_either_refused_or_gets_a_glob_with_something_fixed(template):
    try:
        glob = archive_glob_of(template, "photos")
    except InvalidRequestError:
        return
    assert any(sign.isalnum() for sign in glob)
