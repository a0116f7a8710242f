"""Which patterns match names that a template may make."""

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.archive_name import NameFacts, expand
from jobs.archive_overlap import overlap
from jobs.errors import InvalidRequestError
from jobs.repository_fields import archive_glob_of

ISO = "{repository}-{utcnow:%Y-%m-%dT%H:%M:%S}"
AT = datetime(2026, 11, 25, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("glob", "template", "meets"),
    [
        ("docs-*", ISO, False),
        ("pho*", ISO, True),
        ("photos-2026-*", ISO, True),
        ("photos-weekly-*", ISO, False),
        ("*-photos-*", ISO, False),
        ("photos-Mon-*", "{repository}-{now:%a}-{job}", True),
        ("photos-7-*", "{repository}-{job}", True),
        ("photos-night*", "{repository}-{schedule}-{job}", True),
        ("*-docs-*", "{hostname}-{repository}-{utcnow}", False),
        ("web-*", "{hostname}-{repository}-{utcnow}", True),
        ("a[*]*", "a*{job}", True),
        ("a[*]*", "ab{job}", False),
        ("a[[]*", "a[{job}", True),
    ],
)
def test_pattern_meets_a_template_where_some_name_is_of_both(glob, template, meets):
    facts = NameFacts("photos", 1, AT, schedule="nightly", host="web.example")
    assert overlap(glob, template, facts) is meets


FIELDS = ("{repository}", "{schedule}", "{job}", "{utcnow:%Y-%m}", "{utcnow:%b%d}", "{utcnow}", "{hostname}")
TEMPLATES = st.lists(st.sampled_from((*FIELDS, "a", "b", "2", "-", "*", "[")), min_size=1, max_size=8).map("".join)
NAMES = st.sampled_from(("a", "ab", "2", "a-2", "b2026"))


@given(TEMPLATES, TEMPLATES, NAMES, NAMES, st.integers(1, 3000), st.integers(0, 10_000))
def test_no_name_that_a_pattern_matches_is_overlooked(mine, others, repository, schedule, job, days):
    facts = NameFacts(repository, job, AT + timedelta(days=days), schedule=schedule, host="a-2")
    try:
        glob = archive_glob_of(mine, "a", "ab")
        name = expand(others, facts)
    except InvalidRequestError:
        return
    if fnmatchcase(name, glob) or fnmatchcase(f"{name}-{job}", glob):
        assert overlap(glob, others, facts)
