"""Checks by interval: spread over their days, who waited longest first, one a host at a time."""

import os
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from jobs import interval_checks, repositories
from jobs.clock import now
from jobs.interval_checks import due_at
from jobs.models import Job, Repository
from jobs.repositories import Asker
from jobs.repository_fields import RepositoryChange
from jobs.view import JobStatus
from tests.fakes.instance import ADMIN, instance, repository_row, settings_for
from tests.fakes.machine import make_borg

BEGIN = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def clock(opened_sqlite):
    with time_machine.travel(BEGIN, tick=False) as traveller:
        yield traveller


async def checked(tmp_path, name, **columns):
    fields = {"check_interval_days": 7, "created_at": BEGIN, **columns}
    return await repository_row(name, tmp_path / name, [tmp_path], **fields)


async def begun():
    await interval_checks.start_due()
    return [job.repository_name for job in await Job.all().order_by("id")]


async def test_first_checks_of_what_was_added_together_are_spread_over_the_interval(clock, tmp_path):
    rows = [await checked(tmp_path, f"r{number}") for number in range(28)]
    days = sorted((due_at(row) - BEGIN) // DAY for row in rows)
    assert set(days) <= set(range(7))
    assert max(days.count(day) for day in range(7)) < 14
    assert due_at(Repository(check_interval_days=None)) is None


@pytest.mark.parametrize("last_check", [None, BEGIN - 50 * DAY])
async def test_checks_of_old_repositories_are_spread_from_when_the_interval_is_said(clock, tmp_path, last_check):
    old = {"created_at": BEGIN - 100 * DAY, "check_interval_days": None, "last_check": last_check}
    rows = [await checked(tmp_path, f"r{number}", host=f"h{number}", **old) for number in range(12)]
    asker = Asker(ADMIN, "api")
    for row in rows:
        await repositories.change(asker, row, RepositoryChange(check_interval_days=7))
        clock.shift(timedelta(minutes=1))
    due = [due_at(row) for row in await Repository.all().order_by("id")]
    for row in rows:
        await repositories.change(asker, row, RepositoryChange(check_interval_days=7, channel="console"))
    assert [due_at(row) for row in await Repository.all().order_by("id")] == due
    days = [(moment - BEGIN) // DAY for moment in due]
    assert set(days) <= set(range(8))
    assert max(days.count(day) for day in days) < 9
    assert await begun() == []
    clock.shift(8 * DAY)
    assert len(await begun()) == 12


async def test_who_is_overdue_longest_goes_first_and_a_host_runs_one_at_a_time(clock, tmp_path):
    old = {"created_at": BEGIN - 100 * DAY}
    await checked(tmp_path, "late", **old, last_check=BEGIN - 8 * DAY)
    await checked(tmp_path, "latest", **old, last_check=BEGIN - 20 * DAY, check_max_duration=600)
    await checked(tmp_path, "elsewhere", **old, last_check=BEGIN - 7 * DAY, host="other")
    await checked(tmp_path, "fresh", **old, last_check=BEGIN - 6 * DAY)
    assert await begun() == ["latest", "elsewhere"]
    assert await begun() == ["latest", "elsewhere"]
    first = await Job.get(repository_name="latest")
    assert (first.kind, first.parameters["max_duration"], first.requested_by) == (
        "check",
        600,
        "schedule:check-interval",
    )
    await Job.filter(id=first.id).update(status=JobStatus.FAILED)
    assert await begun() == ["latest", "elsewhere", "late"]


async def test_check_that_failed_is_asked_for_again_the_next_day(clock, tmp_path):
    await checked(tmp_path, "photos", last_check=BEGIN - 8 * DAY, created_at=BEGIN - 9 * DAY)
    await begun()
    await Job.all().update(status=JobStatus.FAILED)
    assert await begun() == ["photos"]
    clock.shift(DAY)
    assert await begun() == ["photos", "photos"]


@pytest.mark.timeout(300)
async def test_partial_checks_go_through_the_repository_in_turns_who_waited_longest_first(
    tmp_path, sqlite_url, redis_url, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "sources").mkdir()
    borg = make_borg(tmp_path / "bin", "hasty_borg.py")
    async with instance(settings_for(tmp_path, sqlite_url, redis_url, borg=str(borg))) as locutus:
        for name in ("photos", "mail"):
            await locutus.add_repository(name, tmp_path / name, [tmp_path / "sources"])
        for number in range(3):  # each leaves segments of its own
            (tmp_path / "sources" / "noise").write_bytes(os.urandom(1000 + number))
            _, started = await locutus.call("POST", "/api/backup/run", json={"repository": "photos"})
            assert (await locutus.ended(started["job_id"])).status == JobStatus.COMPLETED
        await Repository.all().update(check_interval_days=7, check_max_duration=2)
        turns, said = [], []
        while not said or "finished segment check" not in said[-1]:
            at = now() + (len(said) + 1) * 8 * DAY  # a day on which nothing was asked for yet
            monkeypatch.setattr(interval_checks, "now", lambda at=at: at)
            await Repository.filter(name="photos").update(last_check=now() - 40 * DAY)
            await Repository.filter(name="mail").update(last_check=now() - 30 * DAY)
            for _ in range(2):
                await interval_checks.start_due()
                job = await Job.filter(kind="check").order_by("-id").first()
                assert (await locutus.ended(job.id)).status == JobStatus.COMPLETED
                turns.append(job.repository_name)
                if job.repository_name == "photos":
                    said.append(await log_of(locutus, job))
    assert turns == ["photos", "mail"] * len(said)
    began = [int(re.search(r"skipping to segments >= (\d+)", log)[1]) for log in said]
    stopped = [int(re.search(r"last segment checked is (\d+)", log)[1]) for log in said[:-1]]
    assert len(began) > 2
    assert began == [0, *(last + 1 for last in stopped)]


async def log_of(locutus, job):
    async with locutus.http.get(f"/api/jobs/{job.id}/logs") as answer:
        return await answer.text()
