"""Whatever files, repositories, hosts and errors are called: every platform takes every message about them."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.card import Button, end_message, failure_message, job_card, progress_message
from bot.commands import COMMANDS, Answer
from bot.discord import render as discord
from bot.question import question_message
from bot.slack import forms, render
from bot.slack.home import home
from jobs.confirmations import ConfirmationState
from jobs.models import Confirmation, Repository
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, JobView, Progress
from tests.fakes.discord_rules import message_faults
from tests.fakes.slack_rules import accepted_content, block_faults, view_faults

NOW = datetime(2026, 11, 23, 14, 3, tzinfo=UTC)
WORDS = JOB_TYPES["backup"].words

SIGNS = "<>&@!#`*_~|:\\/[]()-+. \n\t\"'U1é\u202e\u200b\U0001f600\x00\x1b"
LONG = ["<!channel>", "@everyone", "```", "\\" * 5_000, "&" * 5_000]
typed = st.text(st.sampled_from(SIGNS), max_size=300) | st.text(max_size=5_000) | st.sampled_from(LONG)
# How Python reads a byte of a file name that is not UTF-8.
nasty = typed | st.text(st.sampled_from([*"a/\\`<", "\udcff"]), max_size=300)
size = st.none() | st.integers(0, 2**63)
progresses = st.builds(
    Progress,
    progress_percent=st.none() | st.floats(-1, 200),
    current_file=st.none() | nasty,
    nfiles=size,
    original_size=size,
    deduplicated_size=size,
    backup_speed=st.none() | st.floats(0, 1e9),
    eta_s=st.none() | st.floats(0, 1e9),
    progress_message=st.none() | nasty,
    last_activity_at=st.none() | st.just(NOW),
)


@st.composite
def jobs(draw):
    named = {
        name: draw(nasty)
        for name in (
            "kind",
            "repository",
            "host",
            "error_message",
            "archive_name",
            "waits_for",
            "origin",
            "subject",
            "note",
        )
    }
    known = dict.fromkeys(JobView.model_fields) | {
        "id": 7, "status": draw(st.sampled_from(JobStatus)), "progress": draw(progresses), "logs_url": "",
        "warnings": draw(st.integers(0, 9)), "priority": "normal", "attempt": draw(st.integers(1, 9)),
        "requested_by": draw(nasty | st.sampled_from(["slack:T1:U1", "discord:1:2"])), "follow_ups": (),
        "created_at": NOW, "cancelled_by": draw(st.none() | nasty),
    }  # fmt: skip
    return JobView.model_construct(**(known | named))


questions = st.builds(
    Confirmation,
    id=st.just(3),
    kind=st.sampled_from([*JOB_TYPES, "gone"]),
    repository_name=st.none() | nasty,
    host=nasty,
    plan=st.lists(nasty, max_size=60),
    asked_by=nasty | st.sampled_from(["slack:T1:U1", "discord:1:2"]),
    decided_by=st.none() | nasty,
    origin=nasty,
    request=st.just({"parameters": {"package": "sl"}}),
    expires_at=st.just(NOW),
)
CHAIN = [JobStatus.COMPLETED] * 3
MESSAGES = {
    "card": st.builds(
        lambda job: job_card(job, words=WORDS, chain=[job.model_copy(update={"status": each}) for each in CHAIN]),
        jobs(),
    ),
    "progress": st.builds(lambda job: progress_message(job, now=NOW, words=WORDS), jobs()),
    "failure": st.builds(failure_message, jobs(), st.lists(nasty, max_size=20)),
    "end": st.builds(end_message, jobs()),
    "question": st.builds(question_message, questions, st.sampled_from(ConfirmationState)),
}


@pytest.mark.parametrize("part", MESSAGES)
@settings(max_examples=400)
@given(st.data())
def test_every_message_is_taken_whatever_it_is_about(part, data):
    message = data.draw(MESSAGES[part])
    content, embed = render.render(message), discord.render(message)
    assert block_faults(content["blocks"]) == []
    assert accepted_content(content)["text"]
    assert list(message_faults(embed)) == []
    json.dumps([content, embed], ensure_ascii=False).encode()


@settings(max_examples=100)
@given(typed, st.none() | typed, typed)
def test_every_answer_is_taken_where_it_may_be_shown(text, code, value):
    answer = Answer(
        text or "?", code=code, buttons=(Button("request.confirm", value[:100] or "1", "Confirm", "danger"),)
    )
    content = render.render_answer(answer)
    assert block_faults(list(content.blocks)) == []
    assert accepted_content(content.arguments)["text"]
    assert view_faults(forms.told(COMMANDS["run"], answer, "C1"), "modal") == []
    assert list(message_faults(discord.render_answer(answer))) == []


@settings(max_examples=40)
@given(st.sampled_from(list(COMMANDS.values())), typed, st.lists(jobs(), max_size=12))
def test_every_form_and_home_is_taken(command, said, running):
    values = {word.name: [said] if word.many else said for word in command.positionals}
    form = forms.form(command, values, "C1")
    if form["blocks"]:
        assert view_faults(form, "modal") == []
    repository = Repository(name=said[:63] or "r", host=said[:255] or "h")
    shown = home([job_card(job, words=WORDS) for job in running], [repository] * 25, Answer(said or "?"))
    assert view_faults(shown, "home") == []
