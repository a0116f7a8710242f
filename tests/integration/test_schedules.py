"""Schedules as people make them: over HTTP, in chat and at the command line; what can't be meant writes nothing."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from bot.commands import Asker, answer, complete
from bot.discord import render as discord
from bot.slack import render as slack
from jobs.access import Grant, Principal, Role
from jobs.clock import now
from jobs.command_words import WordType
from jobs.models import AuditEntry, Job, Repository, ScheduledJob
from jobs.schedule import tick
from tests.fakes.gateway import application, started
from tests.fakes.instance import ADMIN
from tests.fakes.readers import read_in_discord, read_in_slack

PATH = "/api/scheduled-jobs"
BEGIN = datetime(2026, 10, 23, 10, 0, tzinfo=UTC)


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    gateway = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    await gateway.repository("photos")
    with time_machine.travel(BEGIN, tick=False):
        yield gateway


async def test_schedule_is_made_shown_changed_listed_run_and_removed(api):
    body = {"repository": 1, "cron_expression": "every night at 2:30", "timezone": "Europe/Berlin"}
    made = await api.post(PATH, {**body, "jitter": "10m", "keep_daily": 7, "channel": "slack:T1:C1"})
    assert made.status == 201, made.text
    one = f"{PATH}/{made.json['id']}"
    assert made.headers["Location"].endswith(one)
    expected = {
        "name": "photos-backup",
        "cron_expression": "30 2 * * *",
        "kind": "backup",
        "jitter": 600,
        "keep_daily": 7,
    }
    assert made.json | expected == made.json
    changed = await api.put(one, {**made.json, "jitter": 0, "keep_daily": None, "keep_weekly": 4})
    assert changed.status == 200, changed.text
    assert changed.json["next_runs"] == ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    assert (changed.json["keep_daily"], changed.json["keep_weekly"]) == (None, 4)
    assert (await api.get(PATH)).json["items"] == [{**changed.json, "next_runs": None}]
    with time_machine.travel(datetime(2026, 10, 24, 0, 30, tzinfo=UTC), tick=False):
        await tick.tick()
        shown = (await api.get(one)).json
        assert (shown["last_run"], shown["next_run"]) == ("2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z")
        run = (await api.get(f"{one}/runs")).json["items"][0]
        assert (run["state"], run["planned_at"]) == ("started", "2026-10-24T00:30:00Z")
        listed = await api.get("/api/jobs", params={"scheduled_job_id": made.json["id"]})
        assert [job["id"] for job in listed.json["items"]] == [run["job_id"]]
    assert (await api.delete(one)).status == 204
    assert (await api.get(one)).status == 404
    assert await Job.all().count() == 1
    actions = await AuditEntry.filter(action__startswith="schedule.").order_by("id").values_list("action", flat=True)
    assert actions == ["schedule.add", "schedule.change", "schedule.remove"]


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"cron_expression": "61 * * * *"}, "cron_expression", "'61' is no minute: it takes 0 to 59"),
        ({"cron_expression": "0 0 30 2 *"}, "cron_expression", "never comes"),
        ({"cron_expression": None}, "cron_expression", "give a text"),
        ({"timezone": "Europe/Berln"}, "timezone", "Did you mean Europe/Berlin?"),
        ({"run_prune_after": True}, "keep_daily", "a prune that keeps nothing would remove every archive"),
        ({"run_prune_after": True, "keep_daily": 0}, "keep_daily", "give at least one of keep_last"),
        ({"keep_daily": -1}, "keep_daily", "give at least 0"),
        ({"archive_name_template": "{nonsense}-{utcnow}"}, "archive_name_template", "unknown placeholder"),
        ({"archive_name_template": "always"}, "archive_name_template", "makes the same name twice"),
        ({"catch_up": "all"}, "catch_up", "give one of 'one' or 'none'"),
        ({"overlap": "never"}, "overlap", "give one of"),
        ({"kind": "nonsense"}, "kind", "there is no job type 'nonsense'"),
        ({"parameters": {"nonsense": 1}}, "nonsense", "there is no such field"),
        ({"repository": None}, "repository", "name the repository"),
        ({"kind": "package_install"}, "repository", "works on a host, not on a repository"),
        ({"jitter": "2h", "cron_expression": "hourly"}, "jitter", "the runs are 1:00:00 apart; give less"),
        ({"jitter": "later"}, "jitter", ""),
        ({"template": "mine"}, "template", "there is no template called 'mine'"),
        ({"channel": "here"}, "channel", "slack:TEAM:CHANNEL"),
        ({"name": "Überall"}, "name", "a-z"),
        ({"nonsense": 1}, "nonsense", "there is no such field"),
    ],
)
async def test_what_can_not_be_meant_is_refused_by_field_and_writes_nothing(api, fields, field, reason):
    good = {"repository": "photos", "cron_expression": "0 2 * * *", "name": "nightly"}
    refused = await api.post(PATH, {**good, **fields})
    assert (refused.status, refused.json["field"]) == (422, field)
    assert reason in refused.json["detail"]
    assert not await ScheduledJob.exists()
    made = (await api.post(PATH, good)).json
    if "repository" not in fields:
        changed = await api.put(f"{PATH}/{made['id']}", fields)
        assert (changed.status, changed.json["field"]) == (422, field)
    assert (await api.get(f"{PATH}/{made['id']}")).json == made


async def test_name_can_be_had_once_and_an_unknown_repository_not_at_all(api):
    body = {"repository": "photos", "cron_expression": "0 2 * * *", "name": "nightly"}
    assert (await api.post(PATH, body)).status == 201
    assert (await api.post(PATH, body)).status == 409
    assert (await api.post(PATH, {**body, "repository": "nope"})).status == 404
    names = [(await api.post(PATH, {**body, "name": None})).json["name"] for _ in range(2)]
    assert names == ["photos-backup", "photos-backup-2"]


async def test_default_zone_is_the_machine_s_or_a_setting(api, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    made = await answer("schedule add photos every night at 2 --name here", asker())
    assert "`0 2 * * *` Europe/Berlin (the setting default_timezone; `--timezone` says another). Next" in made.text
    assert (await api.put("/api/settings", {"default_timezone": "Asia/Tokio"})).json["field"] == "default_timezone"
    assert (await api.put("/api/settings", {"default_timezone": "Asia/Tokyo"})).status == 200
    made = await api.post(PATH, {"repository": "photos", "cron_expression": "0 2 * * *"})
    assert (made.json["timezone"], made.json["next_run"]) == ("Asia/Tokyo", "2026-10-23T17:00:00Z")


async def test_schedules_go_with_their_repository(api):
    await api.post(PATH, {"repository": "photos", "cron_expression": "0 2 * * *"})
    assert (await api.delete("/api/repositories/photos")).status == 204
    assert (await api.get(PATH)).json["items"] == []


async def test_who_is_limited_to_a_repository_sees_and_makes_schedules_of_that_alone(
    opened_sqlite, aiohttp_client, tmp_path
):
    limited = Principal("local:x", (Grant(Role.OPERATE, repositories=["photos"]),))
    admin = await started(aiohttp_client, application(opened_sqlite, tmp_path, local=limited))
    mine = admin.with_token(None)
    await admin.repository("photos")
    await admin.repository("mail")
    for name, status in (("photos", 201), ("mail", 403)):
        body = {"repository": name, "cron_expression": "0 2 * * *"}
        assert (await mine.post(PATH, body)).status == status
        await admin.post(PATH, body)
    assert {row["repository"] for row in (await mine.get(PATH)).json["items"]} == {"photos"}
    other = (await ScheduledJob.filter(repository__name="mail").get()).id
    for call in (mine.get(f"{PATH}/{other}"), mine.put(f"{PATH}/{other}", {}), mine.delete(f"{PATH}/{other}")):
        assert (await call).status == 403
    own = (await ScheduledJob.filter(repository__name="photos").first()).id
    assert (await mine.put(f"{PATH}/{own}", {"repository": "mail"})).status == 403
    assert (await mine.delete(f"{PATH}/{own}")).status == 204


@pytest.mark.parametrize(("kind", "granted"), [("backup", "view"), ("prune", "operate")])
async def test_who_may_not_start_what_a_schedule_starts_can_not_move_it_away_either(
    opened_sqlite, aiohttp_client, tmp_path, kind, granted
):
    grants = (Grant(Role.named(granted), repositories=["photos"]), Grant(Role.OPERATE, repositories=["mail"]))
    admin = await started(aiohttp_client, application(opened_sqlite, tmp_path, local=Principal("local:x", grants)))
    for name in ("photos", "mail"):
        await admin.repository(name)
    kept = {"keep_last": 3} if kind == "prune" else {}
    body = {"repository": "photos", "cron_expression": "0 2 * * *", "kind": kind, **kept}
    made = await admin.post(PATH, body)
    change = {"repository": "mail", "kind": "backup"}
    assert (await admin.with_token(None).put(f"{PATH}/{made.json['id']}", change)).status == 403
    assert (await admin.get(f"{PATH}/{made.json['id']}")).json == made.json


def asker():
    return Asker(ADMIN, "slack", "slack:T1:C1")


async def test_chat_makes_lists_pauses_resumes_and_removes_a_schedule(api):
    made = await answer('schedule add photos "every night at 2" --timezone Europe/Berlin --name nightly', asker())
    assert made.text == (
        "Schedule nightly: backup of photos, `0 2 * * *` Europe/Berlin. "
        "Next runs: Sat 24 Oct 2026 02:00 CEST, Sun 25 Oct 2026 02:00 CEST, Mon 26 Oct 2026 02:00 CET."
    )
    row = await ScheduledJob.get()
    assert (row.channel, row.created_by) == ("slack:T1:C1", ADMIN.subject)
    with time_machine.travel(row.next_run, tick=False):
        await tick.tick()
        assert (await answer("schedule list", asker())).text == (
            "nightly: backup of photos, `0 2 * * *` Europe/Berlin, next Sun 25 Oct 2026 02:00 CEST; "
            "last Sat 24 Oct 2026 02:00 CEST: started #1"
        )
    assert (await answer("schedule pause nightly", asker())).text.startswith("Schedule nightly is paused")
    assert (await answer("schedule list", asker())).text.startswith(
        "nightly: backup of photos, `0 2 * * *` Europe/Berlin, paused"
    )
    assert "runs again: next Sat 24 Oct" in (await answer(f"schedule resume {row.id}", asker())).text
    assert [choice.value for choice in await complete(WordType.SCHEDULE, "nig", {}, asker())] == ["nightly"]
    assert (await answer("schedule remove nightly", asker())).text == "Schedule nightly is removed; its jobs stay."
    assert "There is no schedule yet" in (await answer("schedule list", asker())).text


async def test_schedule_of_a_host_s_kind_is_made_by_every_way_and_runs_there(api):
    package = {"kind": "package_install", "parameters": {"package": "borgbackup"}, "cron_expression": "0 3 * * 0"}
    made = await api.post(PATH, {**package, "host": "nas"})
    assert (made.status, made.json["host"], made.json["repository"]) == (201, "nas", None)
    assert made.json["name"] == "nas-package_install"
    typed = "schedule add nas sundays at 3 --kind package_install --set package=borgbackup --name by-chat"
    assert (await answer(typed, asker())).text.startswith("Schedule by-chat: package_install of nas, ")
    with time_machine.travel(datetime(2026, 10, 25, 3, 0, tzinfo=UTC), tick=False):
        await tick.tick()
    found = await Job.all().order_by("id")
    assert [(job.kind, job.host, job.parameters["package"]) for job in found] == [
        ("package_install", "nas", "borgbackup")
    ] * 2
    assert "by-chat: package_install of nas" in (await answer("schedule list", asker())).text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"host": None}, "host"),
        ({"host": "no host"}, "host"),
        ({"parameters": {}}, "package"),
        ({"parameters": {"package": "borg; reboot"}}, "package"),
        ({"kind": "backup", "repository": "photos", "parameters": {}}, "host"),
    ],
)
async def test_schedule_of_a_host_s_kind_that_can_not_be_meant_is_refused(api, fields, field):
    package = {"kind": "package_install", "parameters": {"package": "borgbackup"}, "cron_expression": "0 3 * * 0"}
    refused = await api.post(PATH, {**package, "host": "nas", **fields})
    assert (refused.status, refused.json["field"]) == (422, field), refused.json
    assert not await ScheduledJob.exists()


async def test_each_reader_in_chat_sees_the_runs_by_their_own_clock(api):
    made = await answer("schedule add photos every night at 2 --timezone Europe/Berlin --jitter 5m", asker())
    with time_machine.travel(datetime(2026, 10, 25, 1, tzinfo=UTC), tick=False):
        await tick.tick()
        listed = await answer("schedule list", asker())
    resumed = await answer("schedule resume 1", asker())
    for said, count in ((made, 3), (listed, 2), (resumed, 1)):
        in_slack = read_in_slack(slack.render_answer(said).text, "America/New_York")
        assert len(re.findall(r"Oct 2[34], 2026 20:0\d|Oct 25, 2026 21:0\d", in_slack)) == count, in_slack
        in_discord = read_in_discord(discord.render_answer(said)["content"], "America/New_York")
        there = r"\w+day, (2[34] October 2026 20:0\d|25 October 2026 21:0\d)"
        assert len(re.findall(there, in_discord)) == count, in_discord
        assert all(" CE" not in text for text in (in_slack, in_discord))


async def test_chat_says_what_follows_the_backup_of_a_schedule(api):
    typed = "schedule add photos every night at 2 --prune keep-daily=7,keep-weekly=4 --compact --timezone UTC"
    after = "backup of photos, then prune keeping 7 daily, 4 weekly, then compact, `0 2 * * *` UTC"
    for text in (typed, "schedule list"):
        assert f"photos-backup: {after}" in (await answer(text, asker())).text


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("schedule add photos", "write `/backup schedule add REPO WHEN…`"),
        ("schedule add photos every blue moon", "no phrase that is known"),
        ("schedule add photos 0 0 30 2 *", "never comes"),
        ("schedule add nope every night at 2", "There is no repository 'nope'"),
        ("schedule add photos every night at 2 --prune forever", "'forever' is no rule"),
        ("schedule add photos every night at 2 --set x", "write NAME=VALUE"),
        ("schedule add photos every night at 2 --overlap never", "give one of queue, skip, replace"),
        ("schedule pause nope", "There is no schedule 'nope'"),
        ("schedule paus nope", "Did you mean `/backup schedule pause`?"),
    ],
)
async def test_chat_refuses_what_can_not_be_meant(api, typed, said):
    reply = await answer(typed, asker())
    assert reply.refused
    assert said in reply.text
    assert not await ScheduledJob.exists()


async def test_schedule_of_a_repository_that_the_asker_may_not_see_does_not_exist_in_chat(api):
    await api.post(PATH, {"repository": "photos", "cron_expression": "0 2 * * *", "name": "nightly"})
    other = Asker(Principal("slack:T1:U2", (Grant(Role.OPERATE, repositories=["mail"]),)), "slack", "slack:T1:C1")
    assert "There is no schedule 'nightly'" in (await answer("schedule remove nightly", other)).text
    viewer = Asker(Principal("slack:T1:U3", (Grant(Role.VIEW),)), "slack", "slack:T1:C1")
    assert "operate on photos" in (await answer("schedule remove nightly", viewer)).text
    assert (await ScheduledJob.get()).next_run > now() - timedelta(days=1)
    assert await Repository.exists()
