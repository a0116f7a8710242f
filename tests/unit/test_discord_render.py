import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.card import Button, Field, Message, Part
from bot.commands import Answer
from bot.discord.markdown import escape, start, width
from bot.discord.render import COLOURS, EPHEMERAL, NOBODY, identity, render, render_answer
from bot.figures import Bar
from jobs.view import JobStatus
from tests.fakes.discord_rules import accepted_message, message_faults, response_faults

OUR_MENTION = re.compile(r"<@1>")


def message(**changes):
    fields = {
        "job_id": 7,
        "part": Part.CARD,
        "status": JobStatus.RUNNING,
        "mark": "●",
        "headline": "Backup of photos",
        "state": "#7 running",
    }
    return Message(**(fields | changes))


def test_card_is_laid_out():
    card = message(
        lines=("host silent since 23 Nov 14:03 UTC",),
        fields=(Field("Host", "nas-1"), Field("Asked by", "Discord user 3", "discord:1:3")),
        buttons=(Button("job.cancel", "7", "Cancel", "danger"), Button("job.log", "7", "Show log")),
    )
    assert render(card) == {
        "embeds": [
            {
                "title": "● Backup of photos #7 running",
                "description": "host silent since 23 Nov 14:03 UTC",
                "color": COLOURS[JobStatus.RUNNING],
                "footer": {"text": "Locutus #7 card"},
                "fields": [
                    {"name": "Host", "value": "nas-1", "inline": True},
                    {"name": "Asked by", "value": "<@3>", "inline": True},
                ],
            }
        ],
        "components": [
            {
                "type": 1,
                "components": [
                    {"type": 2, "style": 4, "label": "Cancel", "custom_id": "job.cancel:7"},
                    {"type": 2, "style": 2, "label": "Show log", "custom_id": "job.log:7"},
                ],
            }
        ],
        "allowed_mentions": {"parse": []},
    }


def test_progress_is_laid_out():
    progress = message(
        part=Part.PROGRESS,
        bar=Bar(0.62, "≈ 62 % of the previous archive's 31.2 GB"),
        lines=("1,204 files",),
        note="/a/b*c",
    )
    assert render(progress)["embeds"][0]["description"].splitlines() == [
        "`████████████░░░░░░░░` ≈ 62 % of the previous archive's 31.2 GB",
        "1,204 files",
        "`/a/b*c`",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("my_photos-2026.11", "my_photos-2026.11"),
        ("#7 running, 1.2 GB", "#7 running, 1.2 GB"),
        ("photos-2026-11-23T14:03:00", "photos-2026-11-23T14:03:00"),
        ("*loud*", r"\*loud\*"),
        ("_slanted_", r"\_slanted\_"),
        ("a__b", r"a\_\_b"),
        ("~~gone~~ ~/x", r"\~\~gone\~\~ ~/x"),
        ("||secret|| a|b", r"\|\|secret\|\| a|b"),
        (":fire:", r"\:fire:"),
        ("https://evil.example", r"https\://evil.example"),
        ("[a](https://b)", r"\[a\](https\://b)"),
        ("<@2> <t:0>", r"\<@2> \<t:0>"),
        ("@everyone", r"\@everyone"),
        ("`x` \\", r"\`x\` \\"),
        ("# big\n- item\n> quoted\n1. one\n-# small", "\\# big\n\\- item\n\\> quoted\n1\\. one\n\\-# small"),
    ],
)
def test_names_and_sentences_cannot_format_mention_or_link(text, shown):
    assert escape(text) == shown


@pytest.mark.parametrize("subject", ["discord:1:3|x", "discord:1:role:3", "discord:1:!x", "slack:T1:U1", "", None])
def test_only_a_real_discord_id_becomes_a_mention(subject):
    (field,) = render(message(fields=(Field("Asked by", "somebody", subject),)))["embeds"][0]["fields"]
    assert field["value"] == "somebody"


EVERYBODY = "@everyone @here <@999> <@&5>"


@pytest.mark.parametrize("part", Part)
@pytest.mark.parametrize(("asked_by", "called"), [("discord:1:300", ["300"]), ("token:ci", []), ("slack:T1:U1", [])])
def test_further_reply_calls_who_asked_and_nothing_else_calls_anybody(part, asked_by, called):
    fields = (Field("Asked by", EVERYBODY, asked_by),)
    payload = render(message(part=part, fields=fields, lines=(EVERYBODY,), code=EVERYBODY, headline=EVERYBODY))
    expected = called if part in {Part.FAILURE, Part.END} else []
    assert payload["allowed_mentions"] == {"parse": []} | ({"users": expected} if expected else {})
    assert payload.get("content") == ("<@300>" if expected else None)


def test_log_cannot_close_its_fence_and_keeps_its_end():
    description = render(message(code="```\n@everyone" + "x" * 9_000 + "``` the reason"))["embeds"][0]["description"]
    assert description.endswith(" the reason\n```")
    assert description.count("```") == 2


def test_answer_is_private_and_its_commands_stay_code():
    data = render_answer(
        Answer("There is no *x*. Did you mean `/backup run a_b_`?", buttons=(Button("request.confirm", "3", "Yes"),))
    )
    assert data["content"] == r"There is no \*x\*. Did you mean `/backup run a_b_`?"
    assert (data["flags"], data["allowed_mentions"]) == (EPHEMERAL, NOBODY)
    assert data["components"][0]["components"][0]["custom_id"] == "request.confirm:3"


def test_log_in_an_answer_is_fenced_under_it():
    content = render_answer(Answer("The last lines:", code="a\n```b"))["content"]
    assert content.startswith("The last lines:\n```\na\n")
    assert content.count("```") == 2


def test_long_answer_stands_in_an_embed_and_loses_its_last_lines():
    line = "`/backup run REPO` – starts a backup"
    data = render_answer(Answer("\n".join([line] * 60)))
    assert data["content"] == ""
    assert data["embeds"][0]["description"].splitlines() == [line] * 60
    shown = render_answer(Answer("\n".join([line] * 300)))["embeds"][0]["description"].splitlines()
    assert set(shown) == {line, "…"}
    assert shown[-1] == "…"


nasty = st.text(st.sampled_from("<>&@!#`*_~:|[]()\\1 ab\n\"'-\U0001f600")) | st.text(max_size=5_000)
messages = st.builds(
    message,
    part=st.sampled_from(Part),
    status=st.sampled_from(JobStatus),
    headline=nasty,
    state=nasty,
    fields=st.lists(
        st.builds(Field, nasty, nasty, st.none() | nasty | st.just("discord:1:1")), max_size=12
    ).map(tuple),
    bar=st.none() | st.builds(Bar, st.floats(-1, 2), nasty),
    lines=st.lists(nasty, max_size=4).map(tuple),
    note=st.none() | nasty,
    code=st.none() | nasty,
)  # fmt: skip


@given(messages)
def test_whatever_it_says_discord_takes_it_and_nobody_is_mentioned(one):
    payload = render(one)
    assert list(message_faults(payload)) == []
    assert accepted_message(payload)["embeds"]
    shown = "\n".join(
        [payload["embeds"][0]["title"], *(field["value"] for field in payload["embeds"][0].get("fields", ()))]
    )
    assert not re.search(r"(?<!\\)(?:\\\\)*<", OUR_MENTION.sub("", shown))


@given(nasty, st.none() | nasty)
def test_whatever_is_answered_discord_takes_it(text, code):
    response = {"type": 4, "data": render_answer(Answer(text, code=code))}
    assert list(response_faults(response, 2)) == []


@given(st.text(), st.integers(10, 60))
def test_cut_text_is_short_enough_and_ends_no_escape(text, limit):
    cut = start(text, limit)
    assert width(cut) <= limit
    whole = cut.removesuffix("…")
    assert (len(whole) - len(whole.rstrip("\\"))) % 2 == 0 or cut == escape(text)


@given(st.text())
def test_escaped_text_shows_what_it_was(text):
    assert re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", escape(text)) == text


@pytest.mark.parametrize("part", Part)
def test_every_message_names_job_part_and_state(part):
    one = message(part=part)
    assert identity(one) == render(one)["embeds"][0]["footer"]["text"] == f"Locutus #7 {part}"
