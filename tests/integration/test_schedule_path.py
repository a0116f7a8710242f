"""In real time, end to end: a schedule of every minute backs up, prunes and compacts a real repository."""

import asyncio
from datetime import timedelta

from jobs.models import ChatMessage, ConsoleMessage, Job, ScheduledJob
from tests.fakes.instance import instance, settings_for


async def test_schedule_of_every_minute_runs_backup_prune_and_compact(tmp_path, sqlite_url, redis_url):
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "file").write_text("a file")
    async with instance(settings_for(tmp_path, sqlite_url, redis_url)) as locutus:
        await locutus.add_repository("photos", tmp_path / "repository", [sources])
        body = {
            "repository": "photos", "cron_expression": "every minute", "name": "often", "channel": "console",
            "archive_name_template": "{schedule}-{utcnow}", "run_prune_after": True, "run_compact_after": True,
            "keep_last": 1,
        }  # fmt: skip
        status, made = await locutus.call("POST", "/api/scheduled-jobs", json=body)
        assert status == 201, made
        jobs = [await locutus.ended(await _next_job(made["id"], kind), 90) for kind in ("backup", "prune", "compact")]
        assert [job.status for job in jobs] == ["completed"] * 3, [job.error_message for job in jobs]
        assert [job.parent_id for job in jobs] == [None, jobs[0].id, jobs[0].id]
        assert jobs[0].archive_name.startswith("often-")
        await _thread_shows_the_end(jobs)
        row = await ScheduledJob.get(id=made["id"])
        assert row.next_run.isoformat() > made["next_run"].replace("Z", "+00:00")
        assert row.next_run - row.last_run <= timedelta(minutes=1)
        _, runs = await locutus.call("GET", f"/api/scheduled-jobs/{row.id}/runs")
        assert (runs["items"][-1]["state"], runs["items"][-1]["job_id"]) == ("started", jobs[0].id)


async def _next_job(schedule_id, kind):
    """The schedule's first job of a kind; the first minute may take its time."""
    async with asyncio.timeout(90):
        while (job := await Job.filter(scheduled_job_id=schedule_id, kind=kind).order_by("id").first()) is None:
            await asyncio.sleep(0.1)
    return job.id


async def _thread_shows_the_end(jobs):
    ids = [job.id for job in jobs]
    async with asyncio.timeout(30):
        while await ChatMessage.filter(job_id__in=ids, settled=False).exists():
            await asyncio.sleep(0.05)
    messages = await ConsoleMessage.filter(job_id__in=ids)
    assert sorted((message.job_id, message.part) for message in messages) == [
        (ids[0], "card"), *((number, "progress") for number in ids),
    ]  # fmt: skip
    assert all("completed" in str(message.content) for message in messages)
