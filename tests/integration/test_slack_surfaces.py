"""Slack beside commands and clicks: forms, the app's home, questions, user groups, other workspaces, Socket Mode."""

import asyncio
import json
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import web

import bot.slack.interactions
from bot.commands import COMMANDS, Answer
from bot.commands.declaration import Command, Flag, FlagType
from bot.slack.app import PATH, SlackEndpoint
from bot.slack.interactions import SlackInteractions
from bot.slack.replies import SlackReplies
from bot.slack.socket_mode import SlackSocket
from bot.slack.user_groups import UserGroups
from jobs import log_store
from jobs.access import Role
from jobs.command_words import REPOSITORY, Positional, WordType
from jobs.database.unit import unit
from jobs.models import Archive, AuditEntry, Confirmation, Job, RoleBinding
from tests.fakes.instance import repository_row, until
from tests.fakes.slack import FakeSlack, action_payload, command_form, sign, signed_interaction, slash_command
from tests.fakes.slack_rules import option_faults

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME = {"id": "H1", "type": "home", "private_metadata": ""}


async def restored(asker, values):
    del asker
    return Answer(f"Restoring {json.dumps(values, sort_keys=True)}.")


RESTORE = Command(
    "restore",
    "restores",
    restored,
    Role.OPERATE,
    (
        REPOSITORY,
        Positional("archive", WordType.ARCHIVE),
        Positional("paths", placeholder="PATH", required=False, many=True),
        Positional("destination", after="to"),
    ),
    (Flag("overwrite", FlagType.SWITCH), Flag("priority", choices=("high", "low"))),
)


@pytest.fixture
async def slack():
    async with FakeSlack() as fake:
        yield fake
        assert fake.faults == []


@pytest.fixture
async def photos(opened_sqlite):
    row = await repository_row("photos", Path("/r/photos"), [Path("/home")])
    await RoleBinding.create(subject="slack:T1:U1", role="operate")
    return row


class Gateway:
    def __init__(self, client, slack):
        self.client, self.slack = client, slack

    async def say(self, text, **who):
        return await self._post(*slash_command(SECRET, text, trigger_id=self.slack.trigger(), **who))

    async def interact(self, payload):
        return await self._post(*signed_interaction(SECRET, payload))

    async def _post(self, headers, body):
        async with self.client.post(PATH, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            text = await answer.text()
            return json.loads(text) if text.startswith("{") else text


@pytest.fixture
async def gateway(photos, slack, aiohttp_client):
    replies = SlackReplies(slack.token, slack.base_url)
    groups = UserGroups(replies.members)
    app = web.Application()
    interactions = SlackInteractions(replies, groups=groups)
    SlackEndpoint(SECRET, interactions).add_routes(app)
    return Gateway(await aiohttp_client(app), slack)


def submitted(view, values):
    return {
        "type": "view_submission", "team": {"id": "T1"}, "user": {"id": "U1"}, "trigger_id": "submitted",
        "view": {**view, "state": {"values": values}},
    }  # fmt: skip


@pytest.fixture
async def form(gateway, monkeypatch):
    """The open form of `/backup restore photos`."""
    monkeypatch.setitem(COMMANDS, "restore", RESTORE)
    assert await gateway.say("restore photos") == ""
    await until(lambda: gateway.slack.views)
    (view,) = gateway.slack.views.values()
    return view


async def test_what_is_too_much_to_type_is_asked_in_a_form_and_carried_out(gateway, form):
    assert [block["block_id"] for block in form["blocks"]] == [
        "repository", "archive", "paths", "destination", "overwrite", "priority",
    ]  # fmt: skip
    assert form["blocks"][0]["element"]["initial_option"]["value"] == "photos"
    values = {
        "repository": {"word.repository": {"type": "external_select", "selected_option": {"value": "photos"}}},
        "archive": {"word.archive": {"type": "external_select", "selected_option": {"value": "photos-1"}}},
        "paths": {"text": {"type": "plain_text_input", "value": "home/a\nhome/b c\n"}},
        "destination": {"text": {"type": "plain_text_input", "value": "/restored"}},
        "overwrite": {"flag": {"type": "checkboxes", "selected_options": []}},
        "priority": {"flag": {"type": "static_select", "selected_option": None}},
    }
    answer = await gateway.interact(submitted(form, values))
    assert answer["response_action"] == "update"
    said = answer["view"]["blocks"][0]["text"]["text"]
    assert json.loads(said.removeprefix("Restoring ").removesuffix(".")) == {
        "repository": "photos", "archive": "photos-1", "paths": ["home/a", "home/b c"], "destination": "/restored",
    }  # fmt: skip


async def test_refused_form_says_why_under_its_input_and_opens_for_nobody_without_rights(gateway, form):
    answer = await gateway.interact(submitted(form, {}))
    assert answer["response_action"] == "errors"
    assert "/backup restore REPO ARCHIVE [PATH…] to DESTINATION" in answer["errors"]["repository"]
    assert "locutus grant slack:T1:U9 operate" in await gateway.say("restore photos", user="U9")
    assert len(gateway.slack.views) == 1


async def test_menu_offers_the_archives_of_the_repository_that_was_chosen(gateway, form, photos):
    for number, name in enumerate(("photos-1", "photos-2", "x" * 200)):
        await Archive.create(repository=photos, borg_id=str(number), name=name, started_at=NOW)
    chosen = {"repository": {"word.repository": {"selected_option": {"value": "photos"}}}}
    asked = {**submitted(form, chosen), "type": "block_suggestion", "action_id": "word.archive", "value": "-2"}
    (option,) = (await gateway.interact(asked))["options"]
    assert (option["value"], option_faults(option)) == ("photos-2", [])
    stranger = await gateway.interact({**asked, "user": {"id": "U9"}})
    assert stranger["options"] == []


@pytest.fixture
def held(monkeypatch):
    """Nothing is done before it is set, which takes longer than Slack waits."""
    monkeypatch.setattr("bot.slack.interactions.ACKNOWLEDGE_WITHIN_S", 0.05)
    going_on = asyncio.Event()

    def hold(work):
        async def late(*arguments):
            await going_on.wait()
            return await work(*arguments)

        return late

    for name in ("answer", "click", "carry_out"):
        monkeypatch.setattr(f"bot.slack.interactions.{name}", hold(getattr(bot.slack.interactions, name)))
    return going_on


async def test_late_answer_to_a_command_follows_its_acknowledgement(gateway, slack, held):
    assert await gateway.say("run photos", response_url=slack.response_url()) == ""
    assert await Job.all().count() == 0
    held.set()
    await until(lambda: slack.responses)
    assert [said["text"].partition(" is")[0] for said in slack.responses] == ["Job #1"]
    assert slack.responses[0]["response_type"] == "ephemeral"


async def test_late_answer_to_a_click_and_to_a_form_is_shown_where_they_were_made(gateway, slack, held, form):
    view_id = next(iter(slack.views))
    shown = await gateway.interact(submitted({**form, "id": view_id}, {}))
    assert shown["response_action"] == "update"
    click = action_payload("repository.run", "photos", view=HOME)
    assert await gateway.interact(click) == ""
    held.set()
    await until(lambda: "#1 pending" in json.dumps(slack.homes.get("U1")))
    await until(lambda: "/backup restore REPO ARCHIVE" in json.dumps(slack.views[view_id]))


async def test_home_shows_what_runs_and_its_buttons_work(gateway, slack):
    opened = {
        "type": "event_callback", "team_id": "T1", "event": {"type": "app_home_opened", "user": "U1", "tab": "home"},
    }  # fmt: skip
    await _event(gateway, opened)
    await until(lambda: "U1" in slack.homes)
    assert "Nothing is running or waiting." in json.dumps(slack.homes["U1"])
    clicked = action_payload("repository.run", "photos", view=HOME)
    assert "Job #1 is queued" in await gateway.interact(clicked)
    await until(lambda: "#1 pending" in json.dumps(slack.homes["U1"]))
    assert "job.cancel" in json.dumps(slack.homes["U1"])


async def test_home_shows_the_lines_of_a_log_that_was_asked_for(gateway, slack, photos):
    assert "Job #1 is queued" in await gateway.say("run photos")
    text = b"borg created what it was asked for\n"
    await unit(partial(log_store.append, 1, log_store.Position(), text))
    await gateway.interact(action_payload("job.log", "1", view=HOME))
    await until(lambda: "borg created what it was asked for" in json.dumps(slack.homes.get("U1")))


async def test_who_is_no_member_of_the_channel_is_told_of_a_click_by_its_response_url(gateway, slack):
    slack.fail_next("chat.postEphemeral", "not_in_channel")
    card = slack.say("C1", "a card")
    click = action_payload("job.cancel", "9", message=card, response_url=slack.response_url())
    await gateway.interact(click)
    await until(lambda: slack.responses)
    assert (slack.responses[0]["response_type"], slack.responses[0]["replace_original"]) == ("ephemeral", False)
    assert slack.responses[0]["text"].startswith("There is no job #9")


async def test_long_refusal_of_a_form_is_shown_whole_in_its_place(gateway, form):
    values = {"repository": {"word.repository": {"selected_option": {"value": "x" * 63}}}}
    answer = await gateway.interact({**submitted(form, values), "user": {"id": "U9"}})
    assert answer["response_action"] == "update"
    assert f"`locutus grant slack:T1:U9 operate --repository {'x' * 63}`" in json.dumps(answer["view"])


async def _event(gateway, event):
    body = json.dumps(event).encode()
    headers = {**sign(SECRET, body, int(time.time())), "Content-Type": "application/json"}
    async with gateway.client.post(PATH, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_question_is_replaced_by_what_became_of_it(gateway, slack):
    await RoleBinding.filter(subject="slack:T1:U1").update(role="administer")
    asked = await gateway.say("prune photos --keep-daily 7")
    assert asked["response_type"] == "ephemeral"
    (confirm, _) = asked["blocks"][-1]["elements"]
    assert (confirm["action_id"], confirm["value"]) == ("request.confirm", "1")
    click = action_payload("request.confirm", "1", response_url=slack.response_url())
    refused = await gateway.interact({**click, "user": {"id": "U9"}})
    assert "locutus grant slack:T1:U9" in refused
    await until(lambda: len(slack.responses) == 1)
    await gateway.interact(click)
    await until(lambda: len(slack.responses) == 2)
    alone, replaced = slack.responses
    assert (alone["replace_original"], alone["response_type"]) == (False, "ephemeral")
    assert (replaced["replace_original"], replaced["text"][:16]) == (True, "Job #1 is queued")
    assert (await Confirmation.get()).state == "confirmed"


async def test_roles_of_a_user_group_count_for_its_members(gateway, slack):
    await RoleBinding.create(subject="slack:T1:usergroup:S1", role="operate")
    slack.groups["S1"] = ["U7"]
    assert "Job #1 is queued" in await gateway.say("run photos", user="U7")
    assert "locutus grant slack:T1:U8 operate" in await gateway.say("run photos", user="U8")
    assert len(slack.called("usergroups.users.list")) == 1


async def test_who_leaves_a_group_or_whose_group_is_gone_loses_its_role_within_minutes(opened_sqlite, slack):
    await RoleBinding.create(subject="slack:T1:usergroup:S1", role="administer")
    slack.groups["S1"] = ["U7"]
    at_s = 0.0
    groups = UserGroups(SlackReplies(slack.token, slack.base_url).members, lambda: at_s)
    assert await groups.subjects_of("T1", "U7") == ["slack:T1:usergroup:S1"]
    slack.groups["S1"] = ["U8"]
    at_s = 301
    assert await groups.subjects_of("T1", "U7") == []
    assert await groups.subjects_of("T1", "U8") == ["slack:T1:usergroup:S1"]
    del slack.groups["S1"]
    for at_s in (301 + 200, 301 + 301):  # noqa: B007 - the clock
        await groups.subjects_of("T1", "U8")
    assert await groups.subjects_of("T1", "U8") == []
    assert len(slack.called("usergroups.users.list")) == 4
    await groups.close()


async def test_members_are_read_anew_before_anybody_has_to_wait_for_them(opened_sqlite):
    await RoleBinding.create(subject="slack:T1:usergroup:S1", role="operate")
    at_s, asked, answered = 0.0, [], asyncio.Event()
    answered.set()

    async def read_members(group_id):
        asked.append(at_s)
        await answered.wait()
        return frozenset({"U7"})

    groups = UserGroups(read_members, lambda: at_s)
    for at_s in (0, 149, 151):  # noqa: B007 - the clock
        assert await groups.subjects_of("T1", "U7") == ["slack:T1:usergroup:S1"]
    await until(lambda: asked == [0, 151])
    answered.clear()
    at_s = 302
    assert await groups.subjects_of("T1", "U7") == ["slack:T1:usergroup:S1"]
    await until(lambda: asked == [0, 151, 302])
    await groups.close()


async def test_group_whose_members_can_not_be_read_opens_nothing(gateway, slack):
    await RoleBinding.create(subject="slack:T1:usergroup:S9", role="operate")
    assert "locutus grant slack:T1:U7 operate" in await gateway.say("run photos", user="U7")


@pytest.mark.parametrize(("teams", "served"), [((), True), (("T1",), True), (("E1",), True), (("T2",), False)])
async def test_only_the_workspaces_that_are_named_are_served(photos, slack, aiohttp_client, teams, served):
    app = web.Application()
    SlackEndpoint(SECRET, SlackInteractions(teams=teams)).add_routes(app)
    client = await aiohttp_client(app)
    form = command_form("run photos") | {"enterprise_id": "E1"}
    body = urlencode(form).encode()
    async with client.post(PATH, data=body, headers=sign(SECRET, body, int(time.time()))) as answer:
        assert ("Job #1 is queued" in await answer.text()) is served
    assert await Job.all().count() == int(served)
    assert [entry.action for entry in await AuditEntry.filter(result="refused")] == [] if served else ["workspace.use"]


async def test_socket_is_renewed_when_slack_says_so_and_made_again_when_it_breaks(photos, slack):
    socket = SlackSocket(slack.app_token, slack.base_url, SlackInteractions())
    running = asyncio.create_task(socket.run())
    await until(lambda: slack.sockets)
    assert "Job #1" in (await slack.send("slash_commands", command_form("run photos", trigger_id="1")))["text"]
    await slack.disconnect()
    await until(lambda: slack.connections == 2)
    assert await slack.send("events_api", {"type": "event_callback"}, takes_answer=False) == {}
    await slack.sockets.pop().close()
    await until(lambda: slack.connections == 3)
    assert "Job #2" in (await slack.send("slash_commands", command_form("run photos", trigger_id="2")))["text"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_connection_that_is_closed_at_once_is_made_again_with_growing_patience(slack, monkeypatch):
    monkeypatch.setattr("bot.slack.socket_mode.SHORTEST_WAIT_S", 0.1)
    began_s = time.monotonic()
    running = asyncio.create_task(SlackSocket(slack.app_token, slack.base_url, SlackInteractions()).run())
    for _ in range(3):
        await until(lambda: slack.sockets)
        await slack.sockets.pop().close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert time.monotonic() - began_s >= 0.2 + 0.4
    assert slack.connections == 3


async def test_refused_app_token_is_logged_and_tried_again(slack, monkeypatch):
    monkeypatch.setattr("bot.slack.socket_mode.SHORTEST_WAIT_S", 0.01)
    running = asyncio.create_task(SlackSocket("xapp-wrong", slack.base_url, SlackInteractions()).run())
    await until(lambda: len(slack.called("apps.connections.open")) > 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert slack.connections == 0
