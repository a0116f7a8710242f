import pytest

from bot.card import Message, Part
from bot.discord.client import PAGE_SIZE, PAGES, DiscordPlatform
from bot.discord.render import render
from bot.discord.rest import RETRY_AFTER_S, DiscordRest
from bot.platform import AccountRefused, ChannelRefused, ChatError, MessageGone
from jobs.view import JobStatus
from tests.fakes.discord import BOT, CHANNEL, DELETE, EDIT, GUILD, POST, SEARCH, THREAD, FakeDiscord
from tests.fakes.discord_rules import RefusedError, accepted_message, command_faults, response_faults
from tests.fakes.slack import Limit

PLACE = f"discord:{GUILD}:{CHANNEL}"


def message(job_id=7, part=Part.CARD, status=JobStatus.RUNNING, **changes):
    return Message(job_id, part, status, "●", "Backup of photos", f"#{job_id} {status}", **changes)


CARD, PROGRESS = message(), message(part=Part.PROGRESS)


@pytest.fixture
async def discord():
    async with FakeDiscord() as discord:
        yield discord


@pytest.fixture
async def platform(discord):
    async with DiscordPlatform(discord.token, discord.api_url) as platform:
        yield platform


async def test_posted_card_shows_what_was_rendered(discord, platform):
    address = await platform.post(PLACE, None, CARD)
    (posted,) = discord.messages()
    assert posted.id == address
    assert posted.content == {key: render(CARD)[key] for key in ("embeds", "components")}


async def test_reply_goes_into_the_thread_of_its_card_which_is_started_once(discord, platform):
    card = await platform.post(PLACE, None, CARD)
    reply = await platform.post(PLACE, card, PROGRESS)
    failure = await platform.post(PLACE, card, message(part=Part.FAILURE))
    assert [f"{card}/{posted.id}" for posted in discord.messages(card)] == [reply, failure]
    assert [call.status for call in discord.called(THREAD)] == [201, 400]
    assert discord.called(THREAD)[0].body["name"] == "#7 Backup of photos"


async def test_progress_notifies_nobody(discord, platform):
    card = await platform.post(PLACE, None, CARD)
    await platform.post(PLACE, card, PROGRESS)
    assert [call.body.get("flags") for call in discord.called(POST)] == [None, 1 << 12]


async def test_edit_replaces_the_message_where_it_is(discord, platform):
    card = await platform.post(PLACE, None, CARD)
    reply = await platform.post(PLACE, card, PROGRESS)
    for address in (card, reply):
        await platform.edit(PLACE, address, message(status=JobStatus.COMPLETED))
    assert all("#7 completed" in discord.messages(place)[0].text for place in (CHANNEL, card))


async def test_archived_thread_is_opened_again_for_an_edit(discord, platform):
    card = await platform.post(PLACE, None, CARD)
    reply = await platform.post(PLACE, card, PROGRESS)
    discord.places[card].archived = True
    await platform.edit(PLACE, reply, message(part=Part.PROGRESS, status=JobStatus.COMPLETED))
    assert "#7 completed" in discord.messages(card)[0].text


async def test_deleted_message_is_gone_and_may_be_deleted_again(discord, platform):
    address = await platform.post(PLACE, None, CARD)
    await platform.delete(PLACE, address)
    await platform.delete(PLACE, address)
    assert discord.messages() == []
    assert len(discord.called(DELETE)) == 2


async def test_post_whose_answer_was_lost_is_not_made_twice(discord, platform):
    card = await platform.post(PLACE, None, CARD)
    discord.lose_next_answer(POST)
    with pytest.raises(ChatError, match="could not be reached"):
        await platform.post(PLACE, card, PROGRESS)
    (posted,) = discord.messages(card)
    assert await platform.find(PLACE, card, PROGRESS) == f"{card}/{posted.id}"
    assert await platform.post(PLACE, card, PROGRESS) == f"{card}/{posted.id}"
    assert len(discord.messages(card)) == 1


async def test_post_that_was_made_before_shows_the_newest_state(discord, platform):
    discord.places[CHANNEL].missing.add("history")
    discord.lose_next_answer(POST)
    with pytest.raises(ChatError):
        await platform.post(PLACE, None, CARD)
    assert await platform.find(PLACE, None, CARD) is None
    await platform.post(PLACE, None, message(status=JobStatus.COMPLETED))
    (posted,) = discord.messages()
    assert "#7 completed" in posted.text


@pytest.mark.parametrize("other", [message(job_id=8), message(job_id=77), PROGRESS])
async def test_messages_of_other_jobs_and_parts_are_not_found(platform, other):
    await platform.post(PLACE, None, other)
    assert await platform.find(PLACE, None, CARD) is None


async def test_message_of_somebody_else_is_not_found(discord, platform):
    discord.say(CHANNEL, {"embeds": render(CARD)["embeds"]}, author="somebody")
    assert await platform.find(PLACE, None, CARD) is None


async def test_nothing_is_found_where_nothing_can_be_read(discord, platform):
    await platform.post(PLACE, None, CARD)
    assert await platform.find(PLACE, "999", PROGRESS) is None
    discord.places[CHANNEL].missing.add("history")
    assert await platform.find(PLACE, None, CARD) is None
    discord.places[CHANNEL].missing.add("view")
    assert await platform.find(PLACE, None, CARD) is None


async def test_search_turns_pages_but_not_for_ever(discord, platform):
    address = await platform.post(PLACE, None, CARD)
    for _ in range(PAGE_SIZE):
        discord.say(CHANNEL, {"content": "chatter"})
    assert await platform.find(PLACE, None, CARD) == address
    assert len(discord.called(SEARCH)) == 2
    for _ in range(PAGE_SIZE * PAGES):
        discord.say(CHANNEL, {"content": "chatter"}, author=BOT)
    assert await platform.find(PLACE, None, CARD) is None
    assert len(discord.called(SEARCH)) == 2 + PAGES


async def test_too_many_calls_are_told_when_to_come_back_and_not_made_again(discord, platform):
    discord.limits[POST] = Limit(per_minute=20, burst=1, per_channel=True)
    await platform.post(PLACE, None, CARD)
    with pytest.raises(ChatError) as raised:
        await platform.post(PLACE, None, message(job_id=8))
    assert 0 < raised.value.retry_after_s <= 3
    assert not raised.value.everywhere
    assert [call.status for call in discord.called(POST)] == [200]


async def test_after_a_refusal_nothing_more_is_sent_there_until_its_time(discord, platform):
    discord.limits.clear()
    discord.fail_next(POST, 429, retry_after=0.2, **{"global": False})
    for _ in range(2):
        with pytest.raises(ChatError) as raised:
            await platform.post(PLACE, None, CARD)
        assert 0 < raised.value.retry_after_s <= 0.2
    assert [call.status for call in discord.called(POST)] == [429]


@pytest.mark.parametrize(
    ("said", "wait_s", "everywhere"),
    [
        ({"retry_after": 0.7, "global": False}, 0.7, False),
        ({"retry_after": 12, "global": True}, 12, True),
        ({"retry_after": 600, "global": False, "code": 30046}, 600, False),
        ({}, RETRY_AFTER_S, True),
    ],
)
async def test_rate_limit_says_for_how_long_and_for_whom(discord, platform, said, wait_s, everywhere):
    address = await platform.post(PLACE, None, CARD)
    discord.fail_next(EDIT, 429, **said)
    with pytest.raises(ChatError) as raised:
        await platform.edit(PLACE, address, CARD)
    assert (raised.value.retry_after_s, raised.value.everywhere) == (wait_s, everywhere)


@pytest.mark.parametrize("down", ["dropped", "500", "not json"])
async def test_discord_being_down_is_worth_another_try(discord, platform, down):
    discord.down = down
    with pytest.raises(ChatError) as raised:
        await platform.post(PLACE, None, CARD)
    assert type(raised.value) is ChatError
    assert len(discord.called(POST)) == 1


async def test_too_slow_discord_is_given_up_and_what_it_did_is_found(discord):
    discord.delay_s[POST] = 0.3
    async with DiscordPlatform(discord.token, discord.api_url, timeout_s=0.1) as platform:
        with pytest.raises(ChatError, match="did not answer in time"):
            await platform.post(PLACE, None, CARD)
        await discord.until(discord.messages)
        assert await platform.find(PLACE, None, CARD) == discord.messages()[0].id


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, 10008, MessageGone),
        (404, 10003, MessageGone),
        (403, 50005, MessageGone),
        (403, 50001, ChannelRefused),
        (403, 50013, ChannelRefused),
        (401, 0, AccountRefused),
        (401, 50014, AccountRefused),
        (400, 160005, ChannelRefused),
        (400, 99999, ChatError),
        (503, 0, ChatError),
    ],
)
async def test_error_codes_say_what_to_do_next(discord, platform, status, code, kind):
    discord.fail_next(EDIT, status, code)
    with pytest.raises(ChatError, match=str(code or status)) as raised:
        await platform.edit(PLACE, "1", CARD)
    assert isinstance(raised.value, kind)
    assert discord.token not in str(raised.value)


async def test_reply_to_a_card_that_is_gone_says_so(platform):
    with pytest.raises(MessageGone):
        await platform.post(PLACE, "1", PROGRESS)


async def test_missing_permissions_are_named(discord, platform):
    discord.places[CHANNEL].missing.add("embed")
    with pytest.raises(ChannelRefused, match="Embed Links"):
        await platform.post(PLACE, None, CARD)


async def test_wrong_token_refuses_every_channel(discord):
    async with DiscordPlatform("another", discord.api_url) as platform:
        with pytest.raises(AccountRefused, match="DISCORD_TOKEN"):
            await platform.post(PLACE, None, CARD)


@pytest.mark.parametrize(
    "channel", [f"discord:{GUILD}:999", "discord:200", "discord:a:b", "slack:T1:C1", "console", ""]
)
async def test_unknown_or_foreign_channel_is_refused(platform, channel):
    with pytest.raises(ChannelRefused):
        await platform.post(channel, None, CARD)


async def test_refused_layout_is_sent_as_plain_text(discord, platform):
    discord.fail_next(POST, 400, 50035)
    address = await platform.post(PLACE, None, CARD)
    assert "Backup of photos #7 running" in discord.messages()[0].text
    assert await platform.find(PLACE, None, CARD) == address


# The imitation itself: that it refuses what Discord refuses.


async def test_imitation_takes_json_alone(discord):
    async with DiscordRest(discord.token, discord.api_url) as rest:
        url = f"{discord.api_url}/channels/{CHANNEL}/messages"
        async with rest._session.post(url, data={"content": "x"}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, 50035)


BUTTON = {"type": 2, "style": 2, "label": "x", "custom_id": "a"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, 50006),
        ({"content": "x" * 2_001}, 50035),
        ({"content": "\U0001f600" * 1_001}, 50035),
        ({"content": "x", "nonce": "x" * 26}, 50035),
        ({"content": "x", "enforce_nonce": True}, 50035),
        ({"content": "x", "flags": 1}, 50035),
        ({"embeds": [{}]}, 50035),
        ({"embeds": [{"title": "x" * 257}]}, 50035),
        ({"embeds": [{"description": "x" * 4_097}]}, 50035),
        ({"embeds": [{"description": " "}]}, 50035),
        ({"embeds": [{"fields": [{"name": "x", "value": "y"}] * 26}]}, 50035),
        ({"embeds": [{"fields": [{"name": "x", "value": "y" * 1_025}]}]}, 50035),
        ({"embeds": [{"description": "x" * 4_000, "footer": {"text": "y" * 2_001}}]}, 50035),
        ({"content": "x", "components": [{"type": 1, "components": [BUTTON] * 6}]}, 50035),
        ({"content": "x", "components": [{"type": 1, "components": [BUTTON, BUTTON]}]}, 50035),
        ({"content": "x", "components": [{"type": 1, "components": [BUTTON | {"label": "x" * 81}]}]}, 50035),
        ({"content": "x", "components": [{"type": 1, "components": [BUTTON | {"custom_id": "x" * 101}]}]}, 50035),
    ],
)
def test_imitation_refuses_invalid_messages(content, code):
    with pytest.raises(RefusedError, match=str(code)):
        accepted_message(content)


OPTION = {"type": 3, "name": "a", "description": "x"}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Backup"},
        {"description": ""},
        {"description": "x" * 101},
        {"options": [OPTION | {"name": f"o{number}"} for number in range(26)]},
        {"options": [OPTION, OPTION]},
        {"options": [OPTION, OPTION | {"name": "b", "required": True}]},
        {"options": [OPTION | {"autocomplete": True, "choices": [{"name": "x", "value": "y"}]}]},
        {"options": [OPTION | {"choices": [{"name": str(number), "value": "y"} for number in range(26)]}]},
        {
            "options": [
                {
                    "type": 2,
                    "name": "a",
                    "description": "x",
                    "options": [{"type": 2, "name": "b", "description": "x", "options": []}],
                }
            ]
        },
        {"options": [OPTION | {"name": f"o{number}", "description": "x" * 100, "options": [], "choices": [
            {"name": f"{choice}" * 50, "value": "y" * 100} for choice in range(4)]} for number in range(25)]},
    ],
)  # fmt: skip
def test_imitation_refuses_invalid_commands(changes):
    assert list(command_faults({"name": "backup", "description": "x", **changes})) != []


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ({"type": 4, "data": {}}, 2),
        ({"type": 7, "data": {"content": "x"}}, 2),
        ({"type": 4, "data": {"content": "x"}}, 4),
        ({"type": 8, "data": {"choices": [{"name": "x", "value": "y"}] * 26}}, 4),
        ({"type": 9, "data": {"custom_id": "x", "title": "x" * 46, "components": []}}, 2),
        ({"type": 9, "data": {"custom_id": "x", "title": "x", "components": []}}, 5),
    ],
)
def test_imitation_refuses_invalid_answers(response, kind):
    assert list(response_faults(response, kind)) != []


async def test_imitation_takes_one_answer_in_time_and_further_ones_for_fifteen_minutes(discord):
    payload = discord.payload(2, {})
    callback = f"/interactions/{payload['id']}/{payload['token']}/callback"
    original = f"/webhooks/{payload['application_id']}/{payload['token']}/messages/@original"
    answer = {"type": 4, "data": {"content": "x"}}
    async with DiscordRest(None, discord.api_url) as rest:
        with pytest.raises(ChatError, match="10008"):
            await rest.call("PATCH", original, {"content": "y"})
        discord.asked[payload["id"]].at -= 3.5
        with pytest.raises(ChatError, match="three seconds are over"):
            await rest.call("POST", callback, answer)
        discord.asked[payload["id"]].at += 3.5
        await rest.call("POST", callback, answer)
        with pytest.raises(ChatError, match="answered already"):
            await rest.call("POST", callback, answer)
        await rest.call("PATCH", original, {"content": "y"})
        discord.asked[payload["id"]].at -= 900
        with pytest.raises(ChatError, match="fifteen minutes are over"):
            await rest.call("PATCH", original, {"content": "y"})
