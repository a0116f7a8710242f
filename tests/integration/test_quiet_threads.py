"""What notifies and what does not: channels that want failures only, the end of a long job, who is mentioned."""

import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bot.card import end_message, failure_message
from jobs import lifecycle
from jobs.access import Role, everywhere
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.models import ChatMessage, Job, Setting
from jobs.present import view
from jobs.submit import JobRequest, submit
from jobs.view import JobStatus
from tests.fakes.instance import repository_row

QUIET = "slack:T1:C1"
ANNA = everywhere("slack:T1:U1", Role.OPERATE)


@pytest.fixture
async def job(opened_sqlite):
    await repository_row("photos", Path("/r/photos"), [Path("/home")], channel=QUIET)
    await Setting.create(name="only_failures", value=json.dumps([QUIET]))
    return (await submit(JobRequest("backup", ANNA, "slack", "photos"))).job


async def started(job, minutes):
    await unit(partial(lifecycle.start, job, data_directory_id="x", archive_name="photos-1"))
    await Job.filter(id=job.id).update(started_at=now() - timedelta(minutes=minutes))


async def ended(job, status):
    await unit(partial(lifecycle.end, job.id, job.attempt, Ending(status)))


async def thread(channel):
    rows = await ChatMessage.filter(channel=channel).order_by("id").values_list("part", "state")
    return list(rows)


async def test_quiet_channel_sees_nothing_of_what_goes_well(job):
    assert await thread(QUIET) == [("card", "held"), ("progress", "held")]
    await started(job, minutes=1)
    await ended(job, JobStatus.COMPLETED)
    assert await thread(QUIET) == []
    assert await thread("console") == [("card", "unsent"), ("progress", "unsent")]


async def test_quiet_channel_sees_the_whole_thread_of_a_failure(job):
    await started(job, minutes=1)
    await ended(job, JobStatus.FAILED)
    assert await thread(QUIET) == [("card", "unsent"), ("progress", "unsent"), ("failure", "unsent")]


@pytest.mark.parametrize(("minutes", "parts"), [(9, []), (11, ["end"])])
async def test_job_that_took_long_ends_with_one_further_reply(job, minutes, parts):
    await started(job, minutes)
    await ended(job, JobStatus.COMPLETED)
    assert [part for part, _ in await thread("console")] == ["card", "progress", *parts]


async def test_further_reply_comes_after_as_many_minutes_as_are_set_and_never_beside_a_failure(job):
    await Setting.create(name="reply_after_minutes", value=json.dumps(0))
    await started(job, minutes=500)
    await ended(job, JobStatus.FAILED)
    assert [part for part, _ in await thread("console")] == ["card", "progress", "failure"]


async def test_replies_that_notify_name_who_asked(job):
    for message in (failure_message(view(job), ["the reason"]), end_message(view(job))):
        assert [(field.name, field.subject) for field in message.fields] == [("Asked by", "slack:T1:U1")]
