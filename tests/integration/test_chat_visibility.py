"""What somebody is limited to in chat: the rest does not exist for them, hides nothing of theirs, and is audited."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.commands import Asker, answer, complete
from jobs.access import Grant, Principal, Role
from jobs.command_words import WordType
from jobs.models import Archive, AuditEntry, Job
from tests.fakes.instance import repository_row

AT = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 201
HERE = "slack:T1:C1"


def limited(*, channels=None):
    grant = Grant(Role.ADMINISTER, repositories=["photos"], channels=channels)
    return Asker(Principal("slack:T1:U1", (grant,)), "slack", HERE, None)


@pytest.fixture
async def rows(opened_sqlite):
    """`photos`, and `secret` with so many newer jobs that no page of them has one of photos."""
    photos = await repository_row("photos", Path("/r/photos"), [])
    secret = await repository_row("secret", Path("/r/secret"), [])
    given = {"kind": "backup", "status": "pending", "host": "test-host", "requested_by": "x", "origin": "api"}
    of_secret = {"repository_id": secret.id, "repository_name": "secret"}
    await Job.bulk_create([Job(id=number, queue_rank=number, **given, **of_secret) for number in range(1, MANY)])
    await Job.create(id=MANY, queue_rank=MANY, **given, repository_id=photos.id, repository_name="photos")
    await Job.bulk_create(
        [Job(id=number, queue_rank=number, **given, **of_secret) for number in range(MANY + 1, 2 * MANY + 1)]
    )
    return photos, secret


async def test_jobs_of_others_hide_none_of_ones_own(rows):
    assert (await answer("status", limited())).text.startswith(f"1 waiting:\n#{MANY} backup of photos")
    assert (await answer("history", limited())).text.startswith(f"#{MANY} backup of photos")
    assert [choice.value for choice in await complete(WordType.JOB, "", {}, limited())] == [str(MANY)]
    assert (await answer("status", limited(channels=[HERE]))).text.startswith("1 waiting")
    assert f"#{MANY}" in (await complete(WordType.JOB, f"#{MANY}", {}, limited()))[0].label
    assert await complete(WordType.JOB, "\x00", {}, limited()) == []
    assert "locutus grant" in (await answer("status", limited(channels=["slack:T1:C2"]))).text


async def test_old_archive_is_offered_once_it_is_typed(rows):
    photos, secret = rows
    for row in (secret, photos):
        named = [Archive(repository=row, borg_id=f"{row.id}-{n}", name=f"{row.name}-{n:03}") for n in range(MANY + 30)]
        for number, archive in enumerate(named):
            archive.started_at = AT + timedelta(days=number)
        await Archive.bulk_create(named)
    offered = await complete(WordType.ARCHIVE, "PHOTOS-01", {"repository": "photos"}, limited())
    assert [choice.value for choice in offered] == [f"photos-{number:03}" for number in range(19, 9, -1)]
    assert {choice.value[:6] for choice in await complete(WordType.ARCHIVE, "", {}, limited())} == {"photos"}


@pytest.mark.parametrize(
    ("typed", "action", "target"),
    [
        ("run secret", "command.run", "secret"),
        ("cancel 1", "command.cancel", "1"),
        ("logs 1", "command.logs", "1"),
        ("prune secret --keep-daily 7", "command.prune", "secret"),
    ],
)
async def test_who_reaches_for_what_is_hidden_is_told_of_nothing_and_is_in_the_audit(rows, typed, action, target):
    refused = await answer(typed, limited())
    assert refused.refused
    assert "There is no " in refused.text
    entry = await AuditEntry.get()
    assert (entry.subject, entry.action, entry.target, entry.result) == ("slack:T1:U1", action, target, "refused")
    nothing = await answer(typed.replace("secret", "nothing").replace(" 1", " 9999"), limited())
    assert nothing.refused
    assert await AuditEntry.all().count() == 1
