"""Notifications: the right text to the right place by the right switch, retried, visible, and no secret anywhere."""

import asyncio
import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
import time_machine

from jobs import delivery, lifecycle, log_store
from jobs.database.unit import unit
from jobs.lifecycle import Ending, NewJob
from jobs.models import Delivery, NotificationChannel
from jobs.secrets import SecretBox
from jobs.view import JobStatus
from tests.fakes.gateway import SECRET_KEY, application, started
from tests.fakes.notification_services import SECRET_PART, HttpService, MailServer
from tests.fakes.webhook_receiver import Clock
from webhooks import apprise_server, notifier
from webhooks.apprise_calls import AppriseProcess
from webhooks.outbound import WebhookSender
from worker.deliveries import Deliveries

BASE_URL = "https://backup.example.org"


@pytest.fixture
def now():
    return Clock()


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened_sqlite, tmp_path))


@pytest.fixture
async def api_of_both(opened, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened, tmp_path))


@pytest.fixture
async def service():
    async with HttpService() as service:
        yield service


@pytest.fixture
def platforms_are_here(service, tmp_path, monkeypatch):
    """Slack and Discord, for apprise's process, at the local service."""
    script = tmp_path / "apprise_server.py"
    script.write_text(f"""
import runpy
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack
NotifySlack.webhook_url = "http://127.0.0.1:{service.port}/services"
NotifyDiscord.notify_url = "http://127.0.0.1:{service.port}/discord"
runpy.run_path({apprise_server.__file__!r}, run_name="__main__")
""")
    process = AppriseProcess(str(script))
    monkeypatch.setattr(notifier, "APPRISE", process)
    yield
    process.end()


@contextlib.asynccontextmanager
async def delivering(now):
    async with WebhookSender(allow_private_targets=True) as sender:
        task = asyncio.create_task(Deliveries(sender, SecretBox(SECRET_KEY), BASE_URL, now=now).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def channel(api, url, name="team", **fields):
    reply = await api.post("/api/notification-channels", {"name": name, "url": url, **fields})
    assert reply.status == 201, reply.text
    return reply.json


async def ended(status=JobStatus.FAILED, repository="photos", **columns):
    return await end(await begun(repository, **columns), status)


async def begun(repository="photos", **columns):
    new = NewJob(
        kind="backup", host="nas", requested_by="token:ci", origin="api", repository_name=repository, **columns
    )
    job = await unit(partial(lifecycle.create, new))
    return await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="photos-1"))


async def end(job, status):
    await unit(partial(log_store.append, job.id, log_store.Position(), b"first line\nlast line of the log\n"))
    reason = "The repository is locked." if status == JobStatus.FAILED else None
    return await unit(partial(lifecycle.end, job.id, 1, Ending(status, error_message=reason)))


def urls(service):
    return {
        "slack": f"slack://{SECRET_PART[:9].upper().replace('-', 'A')}/B1JKLMNOP/{SECRET_PART.replace('-', '')[:24]}/",
        "discord": f"discord://123456789012345678/{SECRET_PART}/",
        "ntfy": f"ntfy://user:{SECRET_PART}@127.0.0.1:{service.port}/backups",
        "json": f"json://127.0.0.1:{service.port}/{SECRET_PART}",
    }


@pytest.mark.usefixtures("platforms_are_here")
@pytest.mark.parametrize("name", ["slack", "discord", "ntfy", "json"])
async def test_failure_is_told_where_people_read(api, service, now, capsys, name):
    made = await channel(api, urls(service)[name])
    job = await ended()
    async with delivering(now):
        [told] = await service.messages(1)
    assert told.title.startswith(f"Backup of photos #{job.id} failed")
    assert "The repository is locked." in told.text
    assert f"{BASE_URL}/api/jobs/{job.id}/logs" in told.text
    assert "last line of the log" not in told.text
    row = await NotificationChannel.get()
    said = "".join([*capsys.readouterr(), json.dumps(made), row.url])
    assert SECRET_PART not in said


async def test_failure_is_told_by_mail(api, now):
    async with MailServer() as server:
        await channel(
            api,
            f"mailto://user:{SECRET_PART}@127.0.0.1:{server.port}/?from=a@example.org&to=b@example.org&mode=insecure",
        )
        await ended()
        async with delivering(now):
            [mail] = await server.messages(1)
    assert (mail.path, "failed" in mail.title) == ("b@example.org", True)
    assert "The repository is locked." in mail.text


@pytest.mark.parametrize(
    ("fields", "settings", "told"),
    [
        ({}, {}, ["failed"]),
        ({}, {"notify_on_backup_success": True, "notify_on_backup_failure": False}, ["completed"]),
        ({}, {"notify_on_backup_start": True}, ["is running", "failed", "is running"]),
        ({"events": ["backup_success"]}, {}, ["completed"]),
        ({"events": ["job.completed", "job.failed"]}, {}, ["failed", "completed"]),
        ({"events": ["check_failure"]}, {}, []),
        ({"events": []}, {}, []),
        ({"repositories": ["music"]}, {}, []),
        ({"repositories": ["photos"]}, {}, ["failed"]),
        ({"enabled": False}, {}, []),
    ],
)
async def test_switches_of_channel_and_settings_say_what_is_owed(api, fields, settings, told):
    await api.put("/api/settings", settings)
    await channel(api, "json://127.0.0.1:9/", **fields)
    await ended()
    await ended(JobStatus.COMPLETED)
    events = await Delivery.all().order_by("id").values_list("event", flat=True)
    words = {"job.failed": "failed", "job.completed": "completed", "job.started": "is running"}
    assert [words[event] for event in events] == told


async def test_failed_schedule_is_told_by_its_own_switch(api):
    await channel(api, "json://127.0.0.1:9/", events=["schedule_failure"])
    await ended(scheduled_job_id=3)
    await ended()
    assert await Delivery.all().count() == 1


async def test_channel_that_fails_is_tried_again_and_seen(api_of_both, now):
    api = api_of_both
    async with HttpService(500, 302) as service:
        await channel(api, f"json://127.0.0.1:{service.port}/{SECRET_PART}")
        await ended()
        async with delivering(now):
            for count in (1, 2, 3):
                await service.messages(count)
                while (row := (await api.get("/api/deliveries")).json["items"][0])["attempts"] < count:
                    await asyncio.sleep(0.01)
                now.advance(seconds=400)
        shown = (await api.get(f"/api/deliveries/{row['id']}")).json
    assert shown["state"] == "delivered"
    assert [attempt["error"] for attempt in shown["tries"]] == [None, "json answered 302.", "json answered 500."]
    assert [told.path for told in service.told] == [f"/{SECRET_PART}"] * 3  # no redirect was followed
    assert SECRET_PART not in json.dumps(shown)


async def test_digest_tells_a_day_in_one_message(api_of_both, service, now):
    api = api_of_both
    await channel(api, f"json://127.0.0.1:{service.port}/", digest_at="07:30", timezone="Europe/Berlin", events=None)
    await api.put("/api/settings", {"notify_on_backup_success": True})
    for status in (JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.FAILED):
        await ended(status)
    row = await Delivery.get()
    assert (row.event, row.held) == ("digest", True)
    async with delivering(now):
        now.moment = row.due_at
        [told] = await service.messages(1)
    assert told.title == "3 events of the day, 2 bad"
    titles = [line.partition(": ")[2] for line in told.text.splitlines()]
    for title, end in zip(titles, ("#1 failed", "#2 completed", "#3 failed"), strict=True):
        assert title.startswith(f"Backup of photos {end}")
    await ended()
    assert await Delivery.all().count() == 2


async def test_quiet_hours_hold_a_message_back_until_they_end(api_of_both, service, now):
    api, local = api_of_both, now().astimezone(ZoneInfo("Europe/Berlin"))
    quiet = {f"quiet_{end}": f"{local + timedelta(hours=hours):%H:%M}" for end, hours in (("from", -1), ("until", 2))}
    await channel(api, f"json://127.0.0.1:{service.port}/quiet", timezone="Europe/Berlin", **quiet)
    await channel(api, f"json://127.0.0.1:{service.port}/loud", name="loud")
    await ended()
    async with delivering(now):
        await service.messages(1)
        held = await Delivery.get(held=True)
        assert timedelta(hours=1, minutes=58) < held.due_at - now() <= timedelta(hours=2)
        now.moment = held.due_at - timedelta(seconds=1)
        await ended()
        await service.messages(2)
        now.moment = held.due_at
        told = await service.messages(4)
    assert sorted(each.path for each in told[:2]) == ["/loud", "/loud"]
    assert [each.path for each in told[2:]] == ["/quiet", "/quiet"]


async def test_try_again_waits_for_the_end_of_the_quiet_hours(api_of_both):
    await channel(api_of_both, "json://127.0.0.1:9/", quiet_from="22:00", quiet_until="06:30")
    await ended()
    at, morning = datetime(2030, 5, 5, 21, 59, 58, tzinfo=UTC), datetime(2030, 5, 6, 6, 30, tzinfo=UTC)
    for failed_at in (at, morning):
        [row] = await delivery.due(failed_at, limit=2)
        claim = await delivery.claim(row, failed_at, timedelta(seconds=30), BASE_URL)
        await delivery.record(claim, delivery.Answer(None, "no"), failed_at, 0)
        await row.refresh_from_db()
        assert row.due_at == (morning if failed_at == at else morning + timedelta(seconds=55))


async def test_digest_waits_for_its_hour_on_the_day_that_has_one_more(api):
    await channel(api, "json://127.0.0.1:9/", digest_at="07:30", timezone="Europe/Berlin")
    saturday = datetime(2026, 10, 24, 5, 31, tzinfo=UTC)
    with time_machine.travel(saturday, tick=False):
        await ended()
        row = await Delivery.get()
        assert row.due_at == datetime(2026, 10, 25, 6, 30, tzinfo=UTC)
        assert await delivery.due(saturday, limit=2) == []


async def test_monitor_is_pinged_at_start_success_and_failure_with_the_end_of_the_log(api_of_both, service, now):
    await channel(api_of_both, f"ping+http://127.0.0.1:{service.port}/{SECRET_PART}/", repositories=["photos"])
    await ended(repository="music")
    async with delivering(now):
        for number, status in enumerate((JobStatus.COMPLETED, JobStatus.FAILED)):
            job = await begun()
            await service.messages(2 * number + 1)
            await end(job, status)
            told = await service.messages(2 * number + 2)
    assert [each.path for each in told] == [f"/{SECRET_PART}{end}" for end in ("/start", "", "/start", "/fail")]
    assert told[3].text.splitlines() == ["backup #3: The repository is locked.", "first line", "last line of the log"]


async def test_start_that_could_not_be_told_does_not_come_behind_the_end(api_of_both, service, now):
    await channel(api_of_both, f"ping+http://127.0.0.1:{service.port}/x")
    service.statuses = [500]
    async with delivering(now):
        job = await begun()
        while not await Delivery.filter(event="job.started", attempts=1).exists():
            await asyncio.sleep(0.01)
        await end(job, JobStatus.COMPLETED)
        now.advance(seconds=6)
        await service.messages(2)
        while await Delivery.filter(state="waiting").exists():
            await asyncio.sleep(0.01)
    assert [each.path for each in service.told] == ["/x/start", "/x"]


async def test_ping_that_was_overtaken_is_not_sent_again(api_of_both, now):
    async with HttpService(500) as service:
        await channel(api_of_both, f"ping+http://127.0.0.1:{service.port}/uuid")
        await ended()
        async with delivering(now):
            await service.messages(1)
            await ended(JobStatus.COMPLETED)
            await service.messages(2)
            await rows_are("delivered", "waiting", "delivered", "delivered")
            now.advance(seconds=6)
            await ended(repository="music")
            await rows_are(*["delivered"] * 6)
    # Whether a start is told depends on how soon the end comes behind it.
    ends = [told.path for told in service.told if not told.path.endswith("/start")]
    assert ends == ["/uuid/fail", "/uuid", "/uuid/fail"]
    assert "#3" in service.told[-1].text


async def rows_are(*states):
    async with asyncio.timeout(20):
        while await Delivery.all().order_by("id").values_list("state", flat=True) != list(states):
            await asyncio.sleep(0.01)


async def test_channel_is_tried_out_on_request(api, service):
    made = await channel(api, f"json://127.0.0.1:{service.port}/")
    reply = await api.post(f"/api/notification-channels/{made['id']}/test")
    assert reply.json == {"delivered": True, "error": None}
    assert service.told[0].title == "Locutus can reach you here"
    service.statuses = [404]
    reply = await api.post(f"/api/notification-channels/{made['id']}/test")
    assert reply.json == {"delivered": False, "error": "json answered 404."}
    monitor = await channel(api, "ping+https://hc.example.org/x", name="monitor")
    assert (await api.post(f"/api/notification-channels/{monitor['id']}/test")).status == 409


async def test_channel_is_tried_out_in_chat_by_a_button(api_of_both, service, now):
    api = api_of_both
    await channel(api, f"json://127.0.0.1:{service.port}/{SECRET_PART}", quiet_from="00:00", quiet_until="23:59")
    await channel(api, "ping+https://hc.example.org/x", name="monitor")
    listed = (await api.post("/api/console/commands", {"text": "/backup notification list"})).json
    assert [line.partition(" is told")[0] for line in listed["text"].splitlines()] == ["monitor (ping)", "team (json)"]
    [button] = listed["buttons"]
    service.statuses = [500]
    said = (await api.post("/api/console/clicks", {name: button[name] for name in ("action", "value")})).json
    command = re.search(r"/backup deliveries show \d+", said["text"]).group()

    async def shown(count):
        while True:
            told = (await api.post("/api/console/commands", {"text": command})).json
            if f"after {count} attempt" in told["text"]:
                return told

    async with delivering(now):
        await shown(1)
        now.advance(seconds=6)
        last = await shown(2)
    assert [told.title for told in service.told] == ["Locutus can reach you here"] * 2
    assert ("is delivered" in last["text"], "json answered 500." in last["code"]) == (True, True)
    assert SECRET_PART not in json.dumps([listed, said, last])
    refused = (await api.post("/api/console/commands", {"text": "/backup notification test monitor"})).json
    assert "can't be tried out" in refused["text"]


async def test_channel_is_answered_without_its_url_and_changed_by_field(api):
    made = await channel(api, f"ntfy://user:{SECRET_PART}@ntfy.example.org/x", quiet_from="22:00", quiet_until="06:00")
    path = f"/api/notification-channels/{made['id']}"
    assert (made["service"], "url" in made) == ("ntfy", False)
    assert (await api.get(path)).json == made
    changed = await api.put(path, {**made, "events": ["backup_failure"], "url": "json://x.example.org/"})
    assert changed.json == {**made, "events": ["backup_failure"], "service": "json"}
    assert (await api.put(path, {"quiet_from": None})).json["field"] == "quiet_until"
    assert (await api.post("/api/notification-channels", {"name": "team", "url": "json://x/"})).status == 409
    assert (await api.delete(path)).status == 204


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "nonsense"}, "url"),
        ({"url": "syslog://"}, "url"),
        ({"url": "dbus://"}, "url"),
        ({"url": " syslog://"}, "url"),
        ({"url": "x syslog://"}, "url"),
        ({"url": "x,syslog://"}, "url"),
        ({"url": "x+syslog://"}, "url"),
        ({"url": "json://example.org/ , syslog://"}, "url"),
        ({"url": "ping+ftp://x/"}, "url"),
        ({"events": ["backup_sucess"]}, "events.0"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"digest_at": "7:30"}, "digest_at"),
        ({"quiet_from": "22:00"}, "quiet_until"),
        ({"name": "A Team"}, "name"),
        ({"url": "ping+https://hc.example.org/x", "digest_at": "07:30"}, "digest_at"),
        ({"url": "ping+https://hc.example.org/x", "quiet_from": "22:00", "quiet_until": "06:00"}, "quiet_from"),
    ],
)
async def test_channel_that_could_not_work_is_refused_by_field(api, fields, field):
    reply = await api.post("/api/notification-channels", {"name": "team", "url": "json://x.example.org/", **fields})
    assert (reply.status, reply.json["field"]) == (422, field)
    assert await NotificationChannel.all().count() == 0
    assert "nonsense" not in reply.text
