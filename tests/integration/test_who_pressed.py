"""Who pressed a button is seen by the channel: on the card that was clicked, and on that of the job that came of it."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from bot.console.content import restored
from jobs import lifecycle
from jobs.access import Role, everywhere
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.models import ConsoleMessage, RoleBinding
from jobs.submit import JobRequest, submit
from jobs.view import JobStatus
from tests.fakes.channels import CHANNELS, named
from tests.fakes.instance import instance, repository_row, settings_for, until
from worker.app import WorkerRole

ADMIN = everywhere("token:admin", Role.ADMINISTER)
WORDS = {
    "job.retry": (JobStatus.FAILED, "Retried as #2 by"),
    "job.again": (JobStatus.COMPLETED, "Run again as #2 by"),
}


@pytest.fixture(params=CHANNELS)
async def chat(request):
    async with CHANNELS[request.param]() as channel:
        yield channel


async def until_the_console_says(said):
    async with asyncio.timeout(10):
        while said not in [field.name for field in (await card_on_console()).fields]:
            await asyncio.sleep(0.01)


async def card_on_console():
    return restored((await ConsoleMessage.get(job_id=1, part="card")).content)


@pytest.mark.parametrize("action", WORDS)
async def test_both_cards_say_who_wanted_it_again(tmp_path, sqlite_url, redis_url, chat, action):
    status, said = WORDS[action]
    settings = settings_for(tmp_path, sqlite_url, redis_url, **chat.settings)
    async with instance(settings, WorkerRole.SERVICE) as running:
        await repository_row("photos", Path("/r/photos"), [Path("/home")], channel=chat.place)
        await RoleBinding.create(subject=chat.other, role="operate")
        job = (await submit(JobRequest("backup", ADMIN, "api", "photos"))).job
        await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="photos-1"))
        await unit(partial(lifecycle.end, job.id, job.attempt, Ending(status)))
        await until(lambda: chat.shown() and (action, "1") in chat.buttons())
        assert "Job #2 is queued" in await chat.click(running, chat.other, action, "1")
        await until(lambda: said in chat.shown()[0])
        assert f"{said} {named(chat.other)}" in chat.shown()[0]
        cards = lambda: [text for text in chat.shown() if "#2 pending" in text]  # noqa: E731
        await until(cards)
        assert "Retry of #1" in cards()[0]
        assert f"Asked by {named(chat.other)}" in cards()[0]
        await until_the_console_says(said)
