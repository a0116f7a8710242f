"""What a hook makes of a payload: conditions, pointers, parameters, rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidRequestError
from jobs.hook_rules import mapped_parameters, matches
from jobs.json_pointer import MissingValueError, is_pointer, value_at

BODY = {
    "ref": "refs/heads/main",
    "forced": False,
    "count": 1,
    "nothing": None,
    "a/b": {"m~n": ["x", {"y": "z"}]},
    "event": "of the body",
}
# RFC 6901, section 5, with the document shortened to what each pointer needs
RFC_DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, " ": 7, "m~n": 8}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),
        ({"event": "push"}, True),
        ({"event": "pull"}, False),
        ({"event": ["pull", "push"]}, True),
        ({"event": "pu*"}, True),
        ({"event": ["x*", "y"]}, False),
        ({"ref": "refs/heads/main"}, True),
        ({"ref": "refs/heads/*"}, True),
        ({"ref": "refs/tags/*"}, False),
        ({"ref": "refs/heads/*", "event": "pull"}, False),
        ({"ref": "*"}, True),
        ({"count": 1}, True),
        ({"count": "1"}, False),
        ({"count": True}, False),
        ({"count": "*"}, False),
        ({"forced": False}, True),
        ({"forced": 0}, False),
        ({"forced": [0, False]}, True),
        ({"nothing": None}, True),
        ({"absent": "x"}, False),
        ({"/event": "of the body"}, True),
        ({"/a~1b/m~0n/1/y": "z"}, True),
        ({"/a~1b/m~0n/7": "z"}, False),
        ({"ref": "refs.heads.main"}, False),
    ],
)
def test_conditions_hold_as_they_are_written(when, expected):
    assert matches(when, "push", BODY) is expected


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC_DOCUMENT), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2), ("/ ", 7),
        ("/m~0n", 8),
    ],
)  # fmt: skip
def test_pointer_leads_where_the_rfc_says(pointer, value):
    assert value_at(RFC_DOCUMENT, pointer) == value


@pytest.mark.parametrize("pointer", ["/foo/2", "/foo/-", "/foo/01", "/foo/x", "/bar", "/foo/0/deeper", "/foo/²"])
def test_pointer_to_nothing_says_so(pointer):
    with pytest.raises(MissingValueError):
        value_at(RFC_DOCUMENT, pointer)


@pytest.mark.parametrize(("text", "expected"), [("", True), ("/a", True), ("a", False), ("/a~", False), ("/~2", False)])
def test_what_is_no_pointer_is_known(text, expected):
    assert is_pointer(text) is expected


@given(st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)))
def test_every_value_is_reached_by_its_pointer(document):
    for pointer, value in walk("", document):
        assert is_pointer(pointer)
        assert value_at(document, pointer) == value


def walk(pointer, value):
    yield pointer, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from walk(f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}", child)


def test_parameters_are_taken_from_the_payload_and_a_missing_one_is_named():
    assert mapped_parameters({"name": "/ref", "deep": "/a~1b/m~0n"}, BODY) == {
        "name": "refs/heads/main",
        "deep": ["x", {"y": "z"}],
    }
    with pytest.raises(InvalidRequestError, match=r"^name: .*/gone"):
        mapped_parameters({"name": "/gone"}, BODY)
