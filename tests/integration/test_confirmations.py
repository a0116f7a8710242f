"""Requests that wait for a yes: asked once, decided once, worth nothing after ten minutes; and the second person."""

import asyncio
import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bot.commands import Asker, answer, click
from jobs import confirmations, lifecycle
from jobs.access import Role, chat_principal, everywhere
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import ConflictError
from jobs.lifecycle import Ending
from jobs.models import AuditEntry, Confirmation, Job, Repository, RoleBinding, Setting
from jobs.submit import JobRequest, SecondPersonNeededError, submit
from jobs.types.backup import Backup
from jobs.view import JobStatus
from tests.fakes.gateway import application, started
from tests.fakes.instance import repository_row

ANNA, BEN = "slack:T1:U1", "slack:T1:U2"
ADMIN = everywhere("token:admin", Role.ADMINISTER)


async def add_photos():
    await repository_row("photos", Path("/r/photos"), [Path("/home")])
    for subject in (ANNA, BEN):
        await RoleBinding.create(subject=subject, role="operate")


@pytest.fixture
async def photos(opened_sqlite):
    await add_photos()


@pytest.fixture
async def photos_anywhere(opened):
    """The same on both engines."""
    await add_photos()


@pytest.fixture
def destroying(monkeypatch):
    """A backup counts as something that destroys."""
    monkeypatch.setattr(Backup, "destroys", lambda *_: True)


@pytest.fixture
async def two_person(photos):
    await Setting.create(name="two_person", value=json.dumps(["backup"]))


async def asker(subject=ANNA, key="t1"):
    return Asker(await chat_principal(subject), "slack", "slack:T1:C1", key)


async def test_what_destroys_is_asked_and_the_click_makes_the_job(photos, destroying):
    asked = await answer("run photos --priority high", await asker())
    assert asked.text.startswith("Backup of photos at /r/photos.\nConfirm within 10 minutes")
    assert [(button.action, button.value) for button in asked.buttons] == [
        ("request.confirm", "1"),
        ("request.dismiss", "1"),
    ]
    assert (await Job.all().count(), asked.confirmation_id) == (0, 1)
    confirmed = await click("request.confirm", "1", await asker(key="t2"))
    job = await Job.get()
    assert confirmed.text == f"Job #{job.id} is queued: backup of photos on test-host."
    assert (job.requested_by, job.origin, job.priority) == (ANNA, "slack", 1)
    entries = await AuditEntry.all().order_by("id")
    assert [(each.action, each.subject, each.detail["channel"]) for each in entries] == [
        ("confirmation.ask", ANNA, "slack:T1:C1"),
        ("backup.run", ANNA, "slack:T1:C1"),
        ("confirmation.confirm", ANNA, "slack:T1:C1"),
    ]


async def test_the_same_request_again_finds_the_question_and_then_its_job(photos, destroying):
    first = await answer("run photos", await asker())
    assert await answer("run photos", await asker()) == first
    await click("request.confirm", "1", await asker(key="t2"))
    assert (await answer("run photos", await asker())).text.startswith("Job #1 is queued")
    assert (await Confirmation.all().count(), await Job.all().count()) == (1, 1)


async def test_second_click_is_harmless_however_close(photos, destroying):
    await answer("run photos", await asker())
    clicks = [await asker(subject) for subject in (ANNA, BEN, ANNA, BEN)]
    told = await asyncio.gather(*(click("request.confirm", "1", each) for each in clicks))
    assert {each.text for each in told} == {"Job #1 is queued: backup of photos on test-host."}
    assert await Job.all().count() == 1


async def test_retry_that_is_clicked_again_while_it_goes_on_is_one_however_close(opened, photos_anywhere):
    first = (await submit(JobRequest("backup", ADMIN, "api", "photos"))).job
    await unit(partial(lifecycle.end, first.id, first.attempt, Ending(JobStatus.CANCELLED)))
    clicks = [await asker(subject, f"t{number}") for number, subject in enumerate((ANNA, BEN, ANNA, BEN))]
    told = await asyncio.gather(*(click("job.retry", "1", each) for each in clicks))
    assert {each.job_id for each in told} == {2}
    assert await Job.all().count() == 2
    await unit(partial(lifecycle.end, 2, 1, Ending(JobStatus.CANCELLED)))
    assert (await click("job.retry", "1", await asker(key="t9"))).job_id == 3


async def test_dismissed_and_expired_are_said_and_make_nothing(photos, destroying):
    await answer("run photos", await asker())
    assert "is dismissed" in (await click("request.dismiss", "1", await asker())).text
    assert "is dismissed" in (await click("request.dismiss", "1", await asker())).text
    assert "was dismissed" in (await click("request.confirm", "1", await asker())).text
    await answer("run photos", await asker(key="t2"))
    await Confirmation.filter(id=2).update(expires_at=now() - timedelta(seconds=1))
    assert "has expired, and nothing was done" in (await click("request.confirm", "2", await asker())).text
    assert "had expired" in (await click("request.dismiss", "2", await asker())).text
    assert await Job.all().count() == 0


MOVED = {"location": "/r/other", "lane": "other"}


@pytest.mark.parametrize("change", [MOVED, {"host": "nas"}, {"archive_glob": "*"}, "made anew elsewhere"])
async def test_yes_to_what_is_another_repository_by_now_makes_nothing(photos, destroying, change):
    await answer("run photos", await asker())
    if isinstance(change, dict):
        await Repository.filter(name="photos").update(**change)
    else:
        await Repository.filter(name="photos").delete()
        await repository_row("photos", Path("/r/other"), [Path("/home")])
    confirmed = await click("request.confirm", "1", await asker(key="t2"))
    assert confirmed.text == "The repository photos was changed since. Ask again."
    assert (await Job.all().count(), (await Confirmation.get()).state) == (0, "waiting")


async def test_second_person_asked_for_since_is_needed(photos, destroying):
    await answer("run photos", await asker())
    await Setting.create(name="two_person", value=json.dumps(["backup"]))
    assert "takes a second person" in (await click("request.confirm", "1", await asker(key="t2"))).text
    assert (await click("request.confirm", "1", await asker(BEN, "t3"))).job_id == 1
    # The click that comes once more is told of the job, whoever makes it.
    assert (await click("request.confirm", "1", await asker(key="t4"))).job_id == 1


async def test_confirmed_can_not_be_dismissed_any_more(photos, destroying):
    await answer("run photos", await asker())
    await click("request.confirm", "1", await asker())
    with pytest.raises(ConflictError, match="it is job #1"):
        await confirmations.dismiss(1, (await asker()).principal, origin="slack")


async def test_who_lacks_the_right_by_now_or_ever_can_not_confirm(photos, destroying):
    await answer("run photos", await asker())
    await RoleBinding.filter(subject=ANNA).update(role="view")
    assert "locutus grant slack:T1:U1 operate" in (await click("request.confirm", "1", await asker())).text
    assert "There is no confirmation 9" in (await click("request.confirm", "9", await asker())).text
    assert await Job.all().count() == 0


async def test_second_person_is_needed_by_whatever_way_and_can_not_be_the_asker(two_person):
    anna, ben = await asker(), await asker(BEN, "t2")
    asked = await answer("run photos", anna)
    assert "Somebody else with the right must confirm" in asked.text
    assert "takes a second person" in (await click("request.confirm", "1", anna)).text
    assert (await click("request.confirm", "1", ben)).job_id == 1
    assert (await Job.get()).requested_by == ANNA
    with pytest.raises(SecondPersonNeededError, match="second person"):
        await submit(JobRequest("backup", ADMIN, "schedule", "photos"))


async def test_second_person_over_http(two_person, opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    other = await api.token("ben", "operate")
    asked = await api.post("/api/backup/run", {"repository": "photos"})
    assert (asked.status, asked.json["confirmation_id"], asked.json["status"]) == (202, 1, "waiting")
    assert asked.json["plan"] == ["Backup of photos at /r/photos."]
    assert (await api.post("/api/confirmations/1/confirm")).status == 403
    confirmed = await other.post("/api/confirmations/1/confirm")
    assert (confirmed.status, confirmed.json["job_id"]) == (202, 1)
    (row,) = (await api.get("/api/confirmations")).json["items"]
    assert (row["state"], row["decided_by"], row["job_id"]) == ("confirmed", "token:ben", 1)
    assert (await api.get("/api/confirmations/1")).json == row


async def test_idempotency_key_finds_the_question_and_is_refused_for_other_work(
    two_person, opened_sqlite, aiohttp_client, tmp_path
):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    await api.repository("mail")
    headers = {"Idempotency-Key": "k1"}
    photos = {"repository": "photos"}
    first, again = [await api.post("/api/backup/run", photos, headers=headers) for _ in range(2)]
    assert (again.status, again.json) == (202, first.json)
    for other in ({"repository": "mail"}, {**photos, "compact_after": True}, {**photos, "then": ["check"]}):
        refused = await api.post("/api/backup/run", other, headers=headers)
        assert (refused.status, refused.json["field"]) == (422, "Idempotency-Key")
        assert "confirmation 1 was asked for with this key" in refused.json["detail"]
    assert await Confirmation.all().count() == 1


async def test_api_starts_at_once_what_destroys(photos, destroying, opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    assert (await api.post("/api/backup/run", {"repository": "photos"})).json["job_id"] == 1


async def test_console_asks_and_its_click_confirms(photos, destroying, opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    asked = (await api.post("/api/console/commands", {"text": "/backup run photos"})).json
    assert (asked["confirmation_id"], asked["job_id"]) == (1, None)
    clicked = await api.post("/api/console/clicks", {name: asked["buttons"][0][name] for name in ("action", "value")})
    assert clicked.json["job_id"] == 1


async def test_refusals_are_in_the_audit_and_not_twice_a_minute(photos, opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    viewer = await api.token("ci", "view")
    for _ in range(2):
        assert (await viewer.post("/api/backup/run", {"repository": "photos"})).status == 403
        assert (await answer("run photos", await asker("slack:T1:U9"))).refused
    refused = (await api.get("/api/audit?result=refused")).json["items"]
    assert [(row["subject"], row["action"], row["origin"], row["target"]) for row in refused] == [
        ("slack:T1:U9", "command.run", "slack", "photos"),
        ("token:ci", "POST /api/backup/run", "api", None),
    ]
    assert "locutus grant slack:T1:U9 operate" in refused[0]["detail"]["reason"]
    assert [row["detail"].get("channel") for row in refused] == ["slack:T1:C1", None]
    first = (await api.get("/api/audit?limit=1")).json
    assert (await api.get(f"/api/audit?limit=1&cursor={first['next_cursor']}")).json["items"] == refused[1:]
    assert (await viewer.get("/api/audit")).status == 403


async def test_refusal_stands_where_it_can_not_be_written(photos, monkeypatch):
    async def broken(_work):
        raise OSError("the disk is gone")

    monkeypatch.setattr("jobs.audit.unit", broken)
    assert (await answer("run photos", await asker("slack:T1:U9"))).refused
