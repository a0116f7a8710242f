import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.card import Button, Field, Message, Part
from bot.figures import Bar
from bot.slack.render import escape, render
from jobs.view import JobStatus
from tests.fakes.slack_rules import accepted_content, block_faults

NOW = datetime(2026, 11, 23, 14, 3, tzinfo=UTC)
OUR_MENTION = re.compile(r"<@U1>")


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


def texts(payload):
    """Every string that Slack would show of a payload, with the kind of text it stands in."""
    for block in payload["blocks"]:
        for part in (block, *block.get("elements", ())):
            text = part if isinstance(part.get("text"), str) else part.get("text")
            if text:
                yield text["type"], text["text"]


def test_card_is_laid_out():
    card = message(
        lines=("host silent since 23 Nov 14:03 UTC",),
        fields=(Field("Host", "nas-1"), Field("Asked by", "Slack user U1", "slack:T1:U1")),
        buttons=(Button("job.cancel", "7", "Cancel", "danger"),),
    )
    assert render(card) == {
        "text": "Backup of photos #7 running: host silent since 23 Nov 14:03 UTC, host nas-1, asked by Slack user U1",
        "blocks": [
            {
                "type": "section",
                "text": {"type": "mrkdwn", "text": "● *Backup of photos* #7 running", "verbatim": True},
            },
            {
                "type": "section",
                "text": {"type": "plain_text", "text": "host silent since 23 Nov 14:03 UTC", "emoji": False},
            },
            {
                "type": "context",
                "elements": [
                    {"type": "mrkdwn", "text": "Host *nas-1*", "verbatim": True},
                    {"type": "mrkdwn", "text": "Asked by <@U1>", "verbatim": True},
                ],
            },
            {
                "type": "actions",
                "elements": [
                    {
                        "type": "button",
                        "text": {"type": "plain_text", "text": "Cancel", "emoji": False},
                        "action_id": "job.cancel",
                        "value": "7",
                        "style": "danger",
                    }
                ],
            },
        ],
        "metadata": {
            "event_type": "locutus_job",
            "event_payload": {"job_id": 7, "part": "card", "status": "running"},
        },
        "unfurl_links": False,
        "unfurl_media": False,
    }


def test_progress_is_laid_out():
    progress = message(
        part=Part.PROGRESS,
        bar=Bar(0.62, "≈ 62 % of the previous archive's 31.2 GB"),
        lines=("1,204 files",),
        note="/a/b",
    )
    assert list(texts(render(progress))) == [
        (
            "mrkdwn",
            "● *Backup of photos* #7 running\n`████████████░░░░░░░░`  ≈ 62 % of the previous archive's 31.2 GB",
        ),
        ("plain_text", "1,204 files"),
        ("plain_text", "/a/b"),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("photos", "*photos*"),
        ("my_photos-2026.11", "*my_photos-2026.11*"),
        ("photos-2026-11-23T14:03:00", "*photos-2026-11-23T14:03:00*"),
        ("*loud*", "*`*loud*`*"),
        ("_slanted_", "*`_slanted_`*"),
        (":fire:", "*`:fire:`*"),
        ("a`b", "*`aˋb`*"),
        ("<!channel>", "*&lt;!channel&gt;*"),
        ("<@U2> & co", "*&lt;@U2&gt; &amp; co*"),
        ("> quoted", "*`&gt; quoted`*"),
        ("", "*?*"),
    ],
)
def test_names_cannot_format_mention_or_link(name, shown):
    assert list(texts(render(message(headline=name)))) == [("mrkdwn", f"● {shown} #7 running")]


@pytest.mark.parametrize("subject", ["slack:T1:U1|x", "slack:T1:!channel", "slack:T1:U1>", "discord:1:2", "", None])
def test_only_a_real_slack_id_becomes_a_mention(subject):
    shown = dict(enumerate(texts(render(message(fields=(Field("Asked by", "somebody", subject),))))))
    assert shown[1] == ("mrkdwn", "Asked by *somebody*")


def test_log_cannot_close_its_fence():
    (_, code) = list(texts(render(message(code="a\n```\n<!channel> `b` ````` c"))))[1]
    assert code.startswith("```\na\n")
    assert code.endswith(" c\n```")
    assert code.count("```") == 2


def test_long_log_keeps_its_end():
    (_, code) = list(texts(render(message(code="<" * 5_000 + "the reason"))))[1]
    assert code.startswith("```\n…&lt;")
    assert code.endswith("&lt;the reason\n```")


@pytest.mark.parametrize("part", Part)
@pytest.mark.parametrize("status", JobStatus)
def test_metadata_names_job_part_and_state(part, status):
    metadata = render(message(part=part, status=status))["metadata"]
    assert metadata["event_payload"] == {"job_id": 7, "part": part.value, "status": status.value}
    assert json.loads(json.dumps(metadata)) == metadata


nasty = st.text(st.sampled_from("<>&@!#`*_~:|U1 ab\n\"'")) | st.text(max_size=4_000)
messages = st.builds(
    message,
    part=st.sampled_from(Part),
    status=st.sampled_from(JobStatus),
    headline=nasty,
    state=nasty,
    fields=st.lists(
        st.builds(Field, nasty, nasty, st.none() | nasty | st.just("slack:T1:U1")), max_size=12
    ).map(tuple),
    bar=st.none() | st.builds(Bar, st.floats(-1, 2), nasty),
    lines=st.lists(nasty, max_size=4).map(tuple),
    note=st.none() | nasty,
    code=st.none() | nasty,
)  # fmt: skip


@given(messages)
def test_nothing_from_outside_is_markup(one):
    payload = render(one)
    for text in (payload["text"], *(text for _, text in texts(payload))):
        without_ours = OUR_MENTION.sub("", text)
        assert "<" not in without_ours
        assert ">" not in without_ours
        assert not re.search(r"&(?!amp;|lt;|gt;)", without_ours)


@given(messages)
def test_whatever_it_says_slack_takes_it(one):
    payload = render(one)
    assert block_faults(payload["blocks"]) == []
    assert accepted_content(payload)["text"]


@given(st.text())
def test_escaped_text_decodes_to_what_it_was(text):
    assert escape(text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
