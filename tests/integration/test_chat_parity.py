"""Every way into the chat does and says the same: one table of what people say and click, allowed and refused."""

import shutil
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from bot.commands import BUTTON_COMMANDS, COMMANDS
from jobs import lifecycle, log_store
from jobs.access import Role, everywhere
from jobs.database.connection import database
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.log_store import Position
from jobs.models import AuditEntry, Confirmation, Job, NotificationChannel, RoleBinding
from jobs.queue import open_queue
from jobs.submit import JobRequest, submit
from jobs.view import JobStatus
from tests.fakes.faces import FACES, UnsayableError
from tests.fakes.gateway import settings
from tests.fakes.instance import repository_row

ADMIN = everywhere("token:admin", Role.ADMINISTER)
SAY, CLICK = "say", "click"
SUBJECTS = ("slack:T1:U1", "discord:100:300", "token:somebody")

# In the order of one conversation. Job #1 has ended, #2 waits.
SCENARIO = [
    (SAY, "help"),
    (SAY, "help run"),
    (SAY, "statsu"),
    (SAY, "run"),
    (SAY, "run 'photos"),
    (SAY, "run nope"),
    (SAY, "run phtos"),
    (SAY, "run photos --priority soon"),
    (SAY, "run photos --priority high"),
    (SAY, "RUN photos"),
    (SAY, "status"),
    (SAY, "status #2"),
    (SAY, "status 99"),
    (SAY, "list"),
    (SAY, "history photos"),
    (SAY, "history"),
    (SAY, "logs 1"),
    (SAY, "logs one"),
    (SAY, "cancel 2"),
    (SAY, "cancel 2"),
    (SAY, "retry 1"),
    (SAY, "retry 3"),
    (SAY, "check photos"),
    (SAY, "compact photos"),
    (SAY, "prune photos --keep-daily 7"),
    (SAY, "prune photos --keep-dayly 7"),
    (SAY, "prune photos --keep-daily never"),
    (CLICK, "request.confirm", "1"),
    (CLICK, "request.confirm", "1"),
    (CLICK, "request.dismiss", "2"),
    (CLICK, "request.dismiss", "2"),
    (CLICK, "request.confirm", "99"),
    (CLICK, "job.cancel", "3"),
    (CLICK, "job.retry", "1"),
    (CLICK, "job.again", "1"),
    (CLICK, "job.log", "1"),
    (CLICK, "job.log", "one"),
    (CLICK, "repository.run", "photos"),
    (CLICK, "job.explode", "1"),
    (SAY, "schedule add photos every night at 2"),
    (SAY, "schedule list"),
    (SAY, "schedule pause 1"),
    (SAY, "schedule resume 1"),
    (SAY, "schedule remove 1"),
    (SAY, "schedule adds"),
    (SAY, "archives photos"),
    (SAY, "overdue list"),
    (SAY, "overdue acknowledge photos"),
    (SAY, "overdue snooze photos 2d"),
    (SAY, "package install sl"),
    (SAY, "restore photos photos-2026 'my files' to /restored"),
    (SAY, "unlock photos"),
    (SAY, "deliveries list"),
    (SAY, "deliveries show 1"),
    (SAY, "deliveries replay 1"),
    (SAY, "deliveries replay one"),
    (SAY, "notification list"),
    (SAY, "notification test team"),
    (CLICK, "channel.test", "team"),
    (SAY, "notification test nobody"),
    (SAY, "repo list"),
    (SAY, "repo add mail /r/mail /home --encryption none"),
    (SAY, "repo add mail mail /home"),
]

# Discord's client knows the commands and the types of their options.
REFUSED_BY_CLIENTS = {
    "statsu",
    "run",
    "run 'photos",
    "run photos --priority soon",
    "logs one",
    "prune photos --keep-dayly 7",
    "prune photos --keep-daily never",
    "schedule adds",
}


@asynccontextmanager
async def world(name, template, directory, redis_url):
    """A fresh database with one repository and two jobs, and somebody's face in front of it."""
    path = directory / f"{name}.db".replace(" ", "-")
    shutil.copy(template, path)
    async with database(f"sqlite://{path}"), open_queue(redis_url) as queue:
        await repository_row("photos", Path("/r/photos"), [Path("/home")])
        for channel in ("ops", "team"):
            await NotificationChannel.create(name=channel, url="sealed", service="json")
        ended, _ = [(await submit(JobRequest("backup", ADMIN, "api", "photos"))).job for _ in range(2)]
        await unit(partial(lifecycle.end, ended.id, ended.attempt, Ending(JobStatus.CANCELLED)))
        await unit(partial(log_store.append, ended.id, Position(), b"<the> reason\n"))
        yield queue


async def conversation(face):
    """What was told at each step; None where the platform's own client would not send it."""
    return [(step, await told_at(face, step)) for step in SCENARIO]


async def told_at(face, step):
    try:
        return await (face.say(step[1]) if step[0] == SAY else face.click(step[1], step[2]))
    except UnsayableError:
        assert step[1] in REFUSED_BY_CLIENTS
        return None


def neutral(told, face):
    return [(step, told and (told.text.replace(face.subject, "SUBJECT"), told.buttons)) for step, told in told]


async def done(face):
    """What came of it, whoever did it from wherever."""
    jobs = await Job.all().order_by("id").values_list("kind", "status", "parameters", "priority", "retry_of")
    questions = await Confirmation.all().order_by("id").values_list("kind", "state", "plan")
    entries = await AuditEntry.all().order_by("id").values_list("subject", "action", "target", "result")
    return jobs, questions, [entry for entry in entries if entry[0] == face.subject and "POST" not in entry[1]]


async def played(name, role, template, directory, redis_url):
    async with world(name, template, directory, redis_url) as queue:
        for subject in SUBJECTS:
            await RoleBinding.create(subject=subject, role=role)
        async with FACES[name](queue, settings(directory)) as face:
            assert face.subject in SUBJECTS
            told = neutral(await conversation(face), face)
            jobs, questions, entries = await done(face)
        return told, jobs, questions, [entry[1:] for entry in entries]


@pytest.mark.parametrize("role", ["administer", "operate", "view"])
async def test_whichever_way_it_is_asked_the_same_is_done_and_said(role, sqlite_template, tmp_path, redis_url):
    found = {name: await played(name, role, sqlite_template, tmp_path, redis_url) for name in FACES}
    (first, expected), *others = found.items()
    for name, (told, *done_there) in others:
        said = [theirs if mine[1] is None else mine for mine, theirs in zip(told, expected[0], strict=True)]
        for mine, theirs in zip([said, *done_there], expected, strict=True):
            assert mine == theirs, f"{name} differs from {first}"


def test_every_command_and_button_is_in_the_table():
    said = {step[1].lower() for step in SCENARIO if step[0] == SAY}
    clicked = {step[1] for step in SCENARIO if step[0] == CLICK}
    through_buttons = {BUTTON_COMMANDS[action] for action in clicked & BUTTON_COMMANDS.keys()}
    missing = [
        name for name in COMMANDS if name not in through_buttons and not any(text.startswith(name) for text in said)
    ]
    assert not missing
    assert clicked >= BUTTON_COMMANDS.keys()
