import time

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from structlog.testing import capture_logs

from bot.card import Message, Part
from bot.platform import AccountRefused, ChannelRefused, ChatError, MessageGone
from bot.slack.calls import RETRY_AFTER_S
from bot.slack.client import PAGE_SIZE, PAGES, SlackPlatform
from bot.slack.render import Content, render
from bot.slack.replies import SlackReplies
from jobs.view import JobStatus
from tests.fakes.slack import (
    HISTORY,
    POST,
    REPLIES,
    UPDATE,
    WHISPER,
    Bucket,
    FakeSlack,
    Limit,
    block_action,
    slash_command,
)
from tests.fakes.slack_rules import RefusedError, accepted_content

CHANNEL = "slack:T1:C1"


def message(job_id=7, part=Part.CARD, status=JobStatus.RUNNING, **changes):
    return Message(job_id, part, status, "●", "Backup of photos", f"#{job_id} {status}", **changes)


CARD, PROGRESS = message(), message(part=Part.PROGRESS)


@pytest.fixture
async def slack():
    async with FakeSlack() as slack:
        yield slack


@pytest.fixture
async def platform(slack):
    async with SlackPlatform(slack.token, slack.base_url) as platform:
        yield platform


async def test_posted_message_carries_what_was_rendered(slack, platform):
    ts = await platform.post(CHANNEL, None, CARD)
    (posted,) = slack.messages["C1"]
    assert posted.ts == ts
    assert posted.content == {key: render(CARD)[key] for key in ("text", "blocks", "metadata")}
    assert slack.called(POST)[0].arguments["unfurl_links"] is False


async def test_reply_goes_under_its_root(slack, platform):
    root = await platform.post(CHANNEL, None, CARD)
    reply = await platform.post(CHANNEL, root, PROGRESS)
    assert [posted.ts for posted in slack.thread("C1", root)] == [root, reply]


async def test_edit_replaces_the_message_and_its_state(slack, platform):
    ts = await platform.post(CHANNEL, None, CARD)
    await platform.edit(CHANNEL, ts, message(status=JobStatus.COMPLETED))
    (posted,) = slack.messages["C1"]
    assert [content["text"] for _, content in posted.edits] == [
        "Backup of photos #7 running",
        "Backup of photos #7 completed",
    ]
    assert posted.metadata["event_payload"]["status"] == "completed"


async def test_deleted_message_is_gone_and_may_be_deleted_again(slack, platform):
    ts = await platform.post(CHANNEL, None, CARD)
    await platform.delete(CHANNEL, ts)
    await platform.delete(CHANNEL, ts)
    assert slack.messages["C1"] == []


async def test_too_many_posts_are_told_when_to_come_back_and_not_repeated(slack, platform):
    slack.limits[POST] = Limit(per_minute=20, burst=1, per_channel=True)
    await platform.post(CHANNEL, None, CARD)
    with pytest.raises(ChatError, match="too many calls") as raised:
        await platform.post(CHANNEL, None, CARD)
    assert raised.value.retry_after_s == 3
    assert [call.status for call in slack.called(POST)] == [200, 429]


async def test_rate_limit_without_a_time_has_one_all_the_same(slack, platform):
    slack.fail_next(POST, "ratelimited")
    with pytest.raises(ChatError) as raised:
        await platform.post(CHANNEL, None, CARD)
    assert raised.value.retry_after_s == RETRY_AFTER_S


async def test_dropped_connection_posts_exactly_once_and_the_post_is_found(slack, platform):
    root = await platform.post(CHANNEL, None, CARD)
    slack.lose_next_answer(POST)
    with pytest.raises(ChatError, match="could not be reached"):
        await platform.post(CHANNEL, root, PROGRESS)
    assert len(slack.called(POST)) == 2
    (reply,) = slack.thread("C1", root)[1:]
    assert await platform.find(CHANNEL, root, PROGRESS) == reply.ts


async def test_card_whose_answer_was_lost_is_found_in_the_channel(slack, platform):
    slack.lose_next_answer(POST)
    with pytest.raises(ChatError):
        await platform.post(CHANNEL, None, CARD)
    assert await platform.find(CHANNEL, None, CARD) == slack.messages["C1"][0].ts


@pytest.mark.parametrize("other", [message(job_id=8), PROGRESS])
async def test_messages_of_other_jobs_and_parts_are_not_found(platform, other):
    await platform.post(CHANNEL, None, other)
    assert await platform.find(CHANNEL, None, CARD) is None


@pytest.mark.parametrize("author", [{}, {"bot_id": "B2"}])
async def test_message_of_somebody_else_is_not_found(slack, platform, author):
    slack.say("C1", "mine, not yours", metadata=render(CARD)["metadata"], **author)
    assert await platform.find(CHANNEL, None, CARD) is None


async def test_nothing_is_found_in_a_thread_that_is_gone(platform):
    assert await platform.find(CHANNEL, "1.000001", PROGRESS) is None


async def test_search_turns_pages_but_not_for_ever(slack, platform):
    slack.limits.clear()
    ts = await platform.post(CHANNEL, None, CARD)
    for _ in range(PAGE_SIZE):
        slack.say("C1", "chatter")
    assert await platform.find(CHANNEL, None, CARD) == ts
    assert len(slack.called(HISTORY)) == 2
    for _ in range(PAGE_SIZE * PAGES):
        slack.say("C1", "chatter")
    assert await platform.find(CHANNEL, None, CARD) is None
    assert len(slack.called(HISTORY)) == 2 + PAGES


@pytest.mark.parametrize("down", ["dropped", "500", "not json"])
async def test_slack_being_down_is_worth_another_try(slack, platform, down):
    slack.down = down
    with pytest.raises(ChatError) as raised:
        await platform.post(CHANNEL, None, CARD)
    assert type(raised.value) is ChatError
    assert len(slack.called(POST)) == 1
    assert slack.messages["C1"] == []


async def test_slow_slack_is_waited_for(slack, platform):
    slack.delay_s[POST] = 0.2
    assert await platform.post(CHANNEL, None, CARD) == slack.messages["C1"][0].ts


async def test_too_slow_slack_is_given_up_and_what_it_did_is_found(slack):
    slack.delay_s[POST] = 0.3
    async with SlackPlatform(slack.token, slack.base_url, timeout_s=0.1) as platform:
        with pytest.raises(ChatError, match="did not answer in time"):
            await platform.post(CHANNEL, None, CARD)
        await slack.until(lambda: slack.called(POST))
        assert await platform.find(CHANNEL, None, CARD) == slack.messages["C1"][0].ts


async def test_refused_connection_is_worth_another_try():
    async with SlackPlatform("xoxb-test", "http://127.0.0.1:9/api/") as platform:
        with pytest.raises(ChatError, match="could not be reached"):
            await platform.post(CHANNEL, None, CARD)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("message_not_found", MessageGone),
        ("cant_update_message", MessageGone),
        ("edit_window_closed", MessageGone),
        ("channel_not_found", ChannelRefused),
        ("not_in_channel", ChannelRefused),
        ("is_archived", ChannelRefused),
        ("account_inactive", AccountRefused),
        ("token_revoked", AccountRefused),
        ("missing_scope", AccountRefused),
        ("internal_error", ChatError),
        ("something_new", ChatError),
    ],
)
async def test_error_codes_say_what_to_do_next(slack, platform, code, kind):
    slack.fail_next(UPDATE, code)
    with pytest.raises(ChatError, match=code) as raised:
        await platform.edit(CHANNEL, "1.000001", CARD)
    assert type(raised.value) is kind
    assert slack.token not in str(raised.value)


async def test_edit_of_a_message_that_is_gone_says_so(platform):
    with pytest.raises(MessageGone):
        await platform.edit(CHANNEL, "1.000001", CARD)


async def test_reply_to_a_root_that_is_gone_says_so(platform):
    with pytest.raises(MessageGone, match="thread_not_found"):
        await platform.post(CHANNEL, "1.000001", PROGRESS)


async def test_wrong_token_refuses_every_channel(slack):
    async with SlackPlatform("xoxb-wrong", slack.base_url) as platform:
        with pytest.raises(AccountRefused, match="invalid_auth"):
            await platform.post(CHANNEL, None, CARD)


@pytest.mark.parametrize("channel", ["slack:T1:C9", "slack:C1", "discord:1:2", "console", ""])
async def test_unknown_or_foreign_channel_is_refused(platform, channel):
    with pytest.raises(ChannelRefused):
        await platform.post(channel, None, CARD)


async def test_refused_layout_is_sent_as_plain_text(slack, platform):
    slack.fail_next(POST, "invalid_blocks")
    ts = await platform.post(CHANNEL, None, CARD)
    (posted,) = slack.messages["C1"]
    assert (posted.ts, posted.text, posted.content["blocks"]) == (ts, "Backup of photos #7 running", [])
    assert await platform.find(CHANNEL, None, CARD) == ts


async def test_proxy_of_the_environment_is_not_asked_for_this_machine(slack, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with SlackPlatform(slack.token, slack.base_url) as platform:
        assert await platform.post(CHANNEL, None, CARD)


@pytest.mark.parametrize(("no_proxy", "proxy"), [("", "http://proxy:3128"), ("slack.com", None)])
async def test_proxy_of_the_environment_is_used_unless_no_proxy_names_slack(monkeypatch, no_proxy, proxy):
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    async with SlackPlatform("xoxb-test") as platform:
        assert platform._client.proxy == proxy


@pytest.fixture
def replies(slack):
    return SlackReplies(slack.token, slack.base_url)


async def test_whisper_is_for_one_person_in_the_channel(slack, replies):
    await replies.whisper(CHANNEL, "U1", Content("only for you"))
    (call,) = slack.called(WHISPER)
    assert call.arguments == {"channel": "C1", "user": "U1", "text": "only for you"}
    assert slack.messages["C1"] == []


@pytest.mark.parametrize(
    ("channel", "user", "said"),
    [
        (CHANNEL, "nobody", "user_not_found"),
        ("slack:T1:C9", "U1", "channel_not_found"),
        ("console", "U1", "is no Slack channel"),
    ],
)
async def test_refused_whisper_is_logged_and_not_raised(slack, replies, channel, user, said):
    with capture_logs() as logged:
        await replies.whisper(channel, user, Content("only for you"))
    assert_one_warning_of_a_whisper(logged, said, slack.token)


@pytest.mark.parametrize(("down", "said"), [("dropped", "could not be reached"), ("not json", "did not speak")])
async def test_lost_whisper_is_logged_and_not_raised(slack, replies, down, said):
    slack.down = down
    with capture_logs() as logged:
        await replies.whisper(CHANNEL, "U1", Content("only for you"))
    assert_one_warning_of_a_whisper(logged, said, slack.token)


def assert_one_warning_of_a_whisper(logged, said, token):
    (entry,) = logged
    assert (entry["event"], entry["log_level"]) == ("slack_whisper_failed", "warning")
    assert said in entry["reason"]
    assert token not in str(entry)


# The imitation itself: that it refuses what Slack refuses.


async def test_imitation_takes_forms_with_blocks_as_json(slack, platform):
    client = platform._client
    await client.api_call(POST, data={"channel": "C1", "blocks": '[{"type": "divider"}]'})
    assert slack.messages["C1"][0].content["blocks"] == [{"type": "divider"}]


def section(text):
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


BUTTON = {"type": "button", "text": {"type": "plain_text", "text": "x"}, "action_id": "a"}


@pytest.mark.parametrize(
    "blocks",
    [
        [section("x")] * 51,
        [section("")],
        [section("x" * 3_001)],
        [{"type": "section"}],
        [{"type": "section", "fields": [{"type": "plain_text", "text": "x"}] * 11}],
        [{"type": "section", "fields": [{"type": "plain_text", "text": "x" * 2_001}]}],
        [{"type": "section", "text": {"type": "plain_text", "text": "x", "verbatim": True}}],
        [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}],
        [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
        [{"type": "context", "elements": []}],
        [{"type": "actions", "elements": [BUTTON, BUTTON]}],
        [{"type": "actions", "elements": [{**BUTTON, "action_id": "a" * 256}]}],
        [{"type": "actions", "elements": [{**BUTTON, "value": "x" * 2_001}]}],
        [{"type": "actions", "elements": [{**BUTTON, "style": "loud"}]}],
        [{"type": "actions", "elements": [{**BUTTON, "text": {"type": "plain_text", "text": "x" * 76}}]}],
        [{"type": "banner"}],
    ],
)
def test_imitation_refuses_invalid_blocks(blocks):
    with pytest.raises(RefusedError, match="invalid_blocks"):
        accepted_content({"text": "x", "blocks": blocks})


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"text": ""}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"text": "x", "metadata": {"event_type": "x"}}, "invalid_metadata_format"),
        ({"text": "x", "metadata": {"event_type": "not a word", "event_payload": {}}}, "invalid_metadata_format"),
    ],
)
def test_imitation_refuses_invalid_content(content, error):
    with pytest.raises(RefusedError, match=error):
        accepted_content(content)


async def test_imitation_answers_with_what_it_refuses(slack, platform):
    with pytest.raises(SlackApiError, match="invalid_blocks"):
        await platform._client.chat_postMessage(channel="C1", text="x", blocks=[{"type": "banner"}])
    assert slack.messages["C1"] == []


async def test_imitation_limits_edits_of_the_whole_workspace_and_refills(platform):
    ts = await platform.post(CHANNEL, None, CARD)
    for _ in range(10):
        await platform.edit(CHANNEL, ts, CARD)
    with pytest.raises(ChatError) as raised:
        await platform.edit(CHANNEL, ts, CARD)
    assert raised.value.retry_after_s == 2
    bucket = Bucket(per_minute=60, burst=1)
    assert bucket.take() == 0
    assert 0.9 < bucket.take() <= 1
    bucket.filled_at -= 1
    assert bucket.take() == 0


async def test_imitation_shows_metadata_only_when_asked(platform):
    ts = await platform.post(CHANNEL, None, CARD)
    page = await platform._client.api_call(REPLIES, http_verb="GET", params={"channel": "C1", "ts": ts})
    assert "metadata" not in page["messages"][0]


async def test_signed_requests_pass_slacks_own_verifier(slack, platform):
    await platform.post(CHANNEL, None, CARD)
    verifier = SignatureVerifier("secret")
    now = int(time.time())
    for headers, body in (
        slash_command("secret", "run photos", timestamp=now),
        block_action("secret", "job.cancel", "7", message=slack.messages["C1"][0], timestamp=now),
    ):
        assert verifier.is_valid_request(body, headers)
        assert not verifier.is_valid_request(body + b"x", headers)
