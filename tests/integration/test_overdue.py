"""Backups that are too old are told of, again and again, until somebody takes note or one is made."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from bot.commands import Asker, answer
from jobs import overdue
from jobs.clock import now
from jobs.models import Archive, EventEntry, Repository
from tests.fakes.gateway import application, started
from tests.fakes.instance import ADMIN, instance, settings_for
from tests.fakes.notification_services import HttpService
from tests.fakes.webhook_receiver import WebhookReceiver

BEGIN = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PATH = "/api/repositories/photos"
REPOSITORY = {"name": "photos", "location": "/r", "source_directories": ["/home"]}
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    gateway = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    with time_machine.travel(BEGIN, tick=False):
        assert (await gateway.repository("photos", expected_every="26h")).json["expected_every"] == 26 * 3600
    return gateway


@pytest.fixture
def clock(api):
    with time_machine.travel(BEGIN, tick=False) as traveller:
        yield traveller


async def told():
    return await EventEntry.filter(type="backup.overdue").count()


async def looked(clock, moment):
    clock.move_to(moment)
    await overdue.look()
    return await told()


async def backed_up(at, name="a"):
    repository = await Repository.get(name="photos")
    await Archive.create(repository_id=repository.id, borg_id=name, name=name, started_at=at)


def asked(text):
    return answer(text, Asker(ADMIN, "slack", "slack:T1:C1"))


async def test_backup_that_never_ran_is_told_of_and_again_after_a_day_by_however_many_workers(clock):
    assert await looked(clock, BEGIN + 26 * HOUR) == 0
    clock.shift(HOUR)
    await asyncio.gather(*(overdue.look() for _ in range(4)))
    assert await told() == 1
    assert '"last_backup":null,"expected_by":"2026-05-02T14:00:00Z"' in (await EventEntry.get()).payload
    assert await looked(clock, BEGIN + 50 * HOUR) == 1
    assert await looked(clock, BEGIN + 52 * HOUR) == 2


async def test_freshness_is_the_newest_archives_time_and_nothing_else(clock):
    await Repository.all().update(last_backup=BEGIN + 48 * HOUR)
    assert await looked(clock, BEGIN + 49 * HOUR) == 1
    await backed_up(BEGIN + 24 * HOUR)
    await overdue.look()
    row = await Repository.get()
    assert (row.overdue_since, row.overdue_told_at) == (None, None)
    assert await looked(clock, BEGIN + 51 * HOUR) == 2


async def test_taken_note_of_it_is_quiet_until_a_backup_was_made_and_is_late_again(clock, api):
    await looked(clock, BEGIN + 27 * HOUR)
    assert (await asked("status")).text.splitlines()[-1] == (
        "photos is overdue: last backup never, one is expected every 1 d 2 h."
    )
    assert "Noted" in (await asked("overdue acknowledge photos")).text
    assert ADMIN.subject in (await asked("overdue list")).text
    assert await looked(clock, BEGIN + 200 * HOUR) == 1
    await backed_up(BEGIN + 200 * HOUR)
    assert await looked(clock, BEGIN + 201 * HOUR) == 1
    assert (await asked("overdue list")).text == "No backup is overdue."
    assert (await asked("overdue acknowledge photos")).text == "No backup of photos is overdue."
    assert await looked(clock, BEGIN + 227 * HOUR) == 2
    shown = (await api.get(PATH)).json
    assert (shown["overdue_since"], shown["overdue_acknowledged_by"]) == ("2026-05-10T22:00:00Z", None)


async def test_snoozed_it_is_quiet_for_so_long_and_then_told_of_at_once(clock, api):
    await looked(clock, BEGIN + 27 * HOUR)
    assert (await asked("overdue snooze photos 2x")).refused
    assert (await api.post(f"{PATH}/overdue/snooze", {"duration": "0"})).json["field"] == "duration"
    assert "until 4 May 03:00 UTC" in (await asked("overdue snooze photos 36h")).text
    assert "quiet until" in (await asked("overdue list")).text
    assert await looked(clock, BEGIN + 62 * HOUR) == 1
    assert await looked(clock, BEGIN + 63 * HOUR) == 2
    assert await looked(clock, BEGIN + 64 * HOUR) == 2
    again = await api.post(f"{PATH}/overdue/acknowledge")
    assert again.json["overdue_acknowledged_by"] == "token:admin"
    assert 'locutus_backup_overdue{repository="photos"} 1.0' in (await api.get("/metrics")).text


async def test_snoozed_after_it_was_taken_note_of_it_is_told_of_again(clock):
    await looked(clock, BEGIN + 27 * HOUR)
    await asked("overdue acknowledge photos")
    assert "until 3 May 03:00 UTC" in (await asked("overdue snooze photos 12h")).text
    assert "quiet until" in (await asked("overdue list")).text
    assert await looked(clock, BEGIN + 38 * HOUR) == 1
    assert await looked(clock, BEGIN + 39 * HOUR) == 2


async def test_without_an_expectation_nothing_is_overdue_any_more(clock, api):
    assert (await api.put(PATH, {"expected_every": 5})).json["field"] == "expected_every"
    stale = await Repository.get()
    await looked(clock, BEGIN + 27 * HOUR)
    assert (await api.put(PATH, {"expected_every": None})).json["overdue_since"] is None
    assert (await asked("overdue list")).text == "No backup is overdue."
    await overdue._look_at(stale, None, HOUR)  # another worker's look that began before
    assert await looked(clock, BEGIN + 1000 * HOUR) == 1
    assert (await Repository.get()).overdue_since is None


async def test_overdue_backup_reaches_people_webhook_status_and_metric_until_somebody_takes_note(
    tmp_path, sqlite_url, redis_url
):
    async with (
        HttpService() as people,
        WebhookReceiver(WEBHOOK_SECRET) as hook,
        instance(settings_for(tmp_path, sqlite_url, redis_url)) as locutus,
    ):
        for path, body in (
            (
                "repositories",
                {"name": "photos", "location": "/r", "source_directories": ["/home"], "expected_every": "26h"},
            ),
            ("notification-channels", {"name": "team", "url": f"json://127.0.0.1:{people.port}/"}),
            ("subscriptions", {"url": hook.url, "secret": WEBHOOK_SECRET, "events": ["backup.overdue"]}),
        ):
            status, made = await locutus.call("POST", f"/api/{path}", json=body)
            assert status == 201, made
        assert await after(27 * HOUR, created_at=True) == 1
        [told] = await people.messages(1)
        await hook.calls(1)
        assert "photos" in told.title
        assert "There is none yet; one was expected by" in told.text
        event = json.loads(hook.received[0].body)
        assert (event["type"], event["data"]["repository"]) == ("backup.overdue", "photos")
        assert "photos is overdue: last backup never" in await said(locutus, "status")
        async with locutus.http.get("/metrics") as metrics:
            assert 'locutus_backup_overdue{repository="photos"} 1.0' in await metrics.text()

        assert await after(23 * HOUR) == 1
        assert await after(25 * HOUR) == 2
        await people.messages(2)
        await hook.calls(2)
        assert "Nothing is said of photos until" in await said(locutus, "overdue snooze photos 3d")
        assert await after(25 * HOUR) == 2
        await Repository.all().update(overdue_snoozed_until=now() - timedelta(seconds=1))
        assert await after(25 * HOUR) == 3
        assert "Noted" in await said(locutus, "overdue acknowledge photos")
        assert await after(100 * HOUR) == 3
        await people.messages(3)
        await hook.calls(3)
        assert len(set(hook.ids)) == 3


async def after(time, *, created_at=False):
    """How often it was told of once so much time has passed since it was added, or since it was told of last."""
    await Repository.all().update(**{"created_at" if created_at else "overdue_told_at": now() - time})
    await overdue.look()
    return await told()


async def said(locutus, text):
    status, answered = await locutus.call("POST", "/api/console/commands", json={"text": text})
    assert status == 200, answered
    return answered["text"]
