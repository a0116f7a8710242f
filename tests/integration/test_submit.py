"""Accepting a job: whole or not at all, and once however often it is asked for."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from jobs import lifecycle
from jobs.access import Grant, Principal, Role, everywhere
from jobs.claim import Claimant, claim_next
from jobs.database.connection import database
from jobs.database.unit import unit
from jobs.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from jobs.job_type import Parameters
from jobs.lifecycle import Ending
from jobs.models import AuditEntry, ChatMessage, Job, Repository, Setting
from jobs.queue import host_queue, open_queue
from jobs.submit import JobRequest, accept_within, retry, submit
from jobs.types.backup import Backup
from jobs.view import JobStatus
from tests.fakes.instance import repository_row
from tests.fakes.tables import row_counts

ADMIN = everywhere("token:admin", Role.ADMINISTER)
OPERATOR = everywhere("token:op", Role.OPERATE)
PHOTOS_ONLY = Principal("slack:T1:U1", (Grant(Role.OPERATE, repositories=["photos"]),))
BACKUP = JobRequest("backup", ADMIN, "api", "photos")


@pytest.fixture
async def photos(opened_sqlite):
    return await repository_row("photos", Path("/r"), [Path("/home")])


async def end(job):
    await unit(partial(lifecycle.end, job.id, job.attempt, Ending(JobStatus.CANCELLED)))


async def test_accepted_job_is_written_audited_and_told_to_its_host(opened):
    photos = await repository_row("photos", Path("/r"), [Path("/home")])
    accepted = await submit(replace(BACKUP, priority="high", request_key="k"))
    job = await Job.get(id=accepted.job.id)
    assert accepted.created
    assert (job.status, job.host, job.lane, job.priority) == ("pending", photos.host, photos.lane, 1)
    assert (job.repository_id, job.repository_name, job.requested_by) == (photos.id, "photos", "token:admin")
    entry = await AuditEntry.get()
    assert (entry.subject, entry.action, entry.target, entry.detail) == (
        "token:admin", "backup.run", "photos", {"job_id": job.id},
    )  # fmt: skip
    async with asyncio.timeout(5):
        while not await opened.redis.zcard(host_queue(photos.host)):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("changes", "refusal", "text"),
    [
        ({"kind": "dance"}, InvalidRequestError, "kind: .*'dance'.*backup"),
        ({"repository": None}, InvalidRequestError, "repository: name"),
        ({"repository": "nowhere"}, NotFoundError, "nowhere"),
        ({"repository": "999"}, NotFoundError, "999"),
        ({"repository": ""}, InvalidRequestError, "repository"),
        ({"priority": "urgent"}, InvalidRequestError, "priority: 'urgent'.*high"),
        ({"parameters": {"rsh": "sh"}}, InvalidRequestError, "^rsh: "),
        ({"principal": everywhere("x", Role.VIEW)}, ForbiddenError, "operate on photos.*locutus grant x operate"),
        ({"principal": Principal("x", ())}, ForbiddenError, "operate"),
        ({"kind": "repository_init", "principal": OPERATOR}, ForbiddenError, "administer"),
    ],
)
async def test_refusal_is_a_sentence_and_writes_nothing(photos, changes, refusal, text):
    before = await row_counts()
    with pytest.raises(refusal, match=text):
        await submit(replace(BACKUP, request_key="k", **changes))
    assert await row_counts() == before


async def test_reference_that_no_database_takes_is_not_found(opened):
    for reference in ("9" * 40, "2147483648", "²", "a\0b"):
        with pytest.raises(NotFoundError):
            await submit(replace(BACKUP, repository=reference))


async def test_field_of_a_bad_parameter_is_named(photos):
    with pytest.raises(InvalidRequestError) as refused:
        await submit(replace(BACKUP, parameters={"rsh": "sh"}))
    assert (refused.value.field, refused.value.reason) == ("rsh", "there is no such field.")


async def test_right_on_one_repository_is_no_right_on_another(photos):
    await repository_row("music", Path("/m"), [])
    assert (await submit(replace(BACKUP, principal=PHOTOS_ONLY))).created
    with pytest.raises(ForbiddenError):
        await submit(replace(BACKUP, principal=PHOTOS_ONLY, repository="music"))


async def test_repository_is_found_by_its_number_too(photos):
    assert (await submit(replace(BACKUP, repository=str(photos.id)))).job.repository_name == "photos"


async def test_repeated_request_finds_the_first_job_and_writes_nothing(photos):
    first = await submit(replace(BACKUP, request_key="k"))
    before = await row_counts()
    again = await submit(replace(BACKUP, request_key="k"))
    assert (again.created, again.job.id) == (False, first.job.id)
    assert await row_counts() == before


async def test_repeated_request_finds_the_first_job_when_that_has_ended(photos):
    first = await submit(replace(BACKUP, request_key="k"))
    await end(first.job)
    assert (await submit(replace(BACKUP, request_key="k"))).job.id == first.job.id


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "repository_init"},
        {"repository": "music"},
        {"repository": "nowhere"},
        {"repository": "999"},
        {"repository": None},
        {"parameters": {"rsh": "sh"}},
    ],
)
async def test_key_of_one_request_is_refused_for_another(photos, other):
    await repository_row("music", Path("/m"), [])
    first = await submit(replace(BACKUP, request_key="k"))
    with pytest.raises(InvalidRequestError):
        await submit(replace(BACKUP, request_key="k", **other))
    assert await Job.all().get() == first.job


async def test_refusal_of_a_used_key_names_it_and_the_job(photos):
    await repository_row("music", Path("/m"), [])
    job = (await submit(replace(BACKUP, request_key="k"))).job
    with pytest.raises(InvalidRequestError, match=f"job #{job.id} .* new key") as refused:
        await submit(replace(BACKUP, request_key="k", repository="music"))
    assert refused.value.field == "Idempotency-Key"


async def test_key_is_refused_for_other_parameters_and_not_for_the_same_in_other_words(photos, monkeypatch):
    class Choosy(Parameters):
        dry_run: bool = False

    monkeypatch.setattr(Backup, "parameters", Choosy)
    first = await submit(replace(BACKUP, request_key="k"))
    again = await submit(replace(BACKUP, request_key="k", parameters={"dry_run": False}))
    assert again.job.id == first.job.id
    with pytest.raises(InvalidRequestError, match="Idempotency-Key"):
        await submit(replace(BACKUP, request_key="k", parameters={"dry_run": True}))


async def test_repeated_request_finds_the_first_job_by_the_repositorys_number_and_after_its_removal(photos):
    first = await submit(replace(BACKUP, request_key="k"))
    by_number = replace(BACKUP, request_key="k", repository=str(photos.id))
    assert (await submit(by_number)).job.id == first.job.id
    await photos.delete()
    for again in (by_number, replace(BACKUP, request_key="k")):
        assert (await submit(again)).job.id == first.job.id


async def test_of_two_requests_with_one_key_at_once_the_other_is_refused(opened):
    for name in ("photos", "music"):
        await repository_row(name, Path(f"/{name}"), [])
    asked = (submit(replace(BACKUP, request_key="k", repository=name)) for name in ("photos", "music"))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Accepted", "InvalidRequestError"]
    assert await Job.all().count() == 1


async def test_request_is_accepted_within_a_greater_unit_or_not_at_all(opened):
    await repository_row("photos", Path("/r"), [])

    async def accepted_and_broken_off():
        await accept_within(BACKUP)
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        await unit(accepted_and_broken_off)
    assert (await Job.all().count(), await AuditEntry.all().count()) == (0, 0)
    job = await unit(partial(accept_within, BACKUP))
    assert (await Job.get()).id == job.id


async def test_fifty_requests_with_one_key_at_once_make_one_job(opened):
    await repository_row("photos", Path("/r"), [])
    accepted = await asyncio.gather(*(submit(replace(BACKUP, request_key="k")) for _ in range(50)))
    assert [one.created for one in accepted].count(True) == 1
    assert len({one.job.id for one in accepted}) == 1
    assert (await Job.all().count(), await AuditEntry.all().count()) == (1, 1)


async def test_requests_without_a_key_are_each_a_job(photos):
    await asyncio.gather(*(submit(BACKUP) for _ in range(5)))
    assert await Job.all().count() == 5


@pytest.mark.parametrize(
    ("asked", "repository", "setting", "channels"),
    [
        ("slack:T:ASKED", "slack:T:REPO", "slack:T:DEFAULT", {"console", "slack:T:ASKED"}),
        (None, "slack:T:REPO", "slack:T:DEFAULT", {"console", "slack:T:REPO"}),
        (None, None, "slack:T:DEFAULT", {"console", "slack:T:DEFAULT"}),
        (None, None, None, {"console"}),
        ("console", "slack:T:REPO", None, {"console"}),
    ],
)
async def test_thread_opens_where_it_was_asked_else_at_its_repository_else_by_default(
    photos, asked, repository, setting, channels
):
    await Repository.filter(id=photos.id).update(channel=repository)
    if setting:
        await Setting.create(name="default_channel", value={})
        await Setting.filter(name="default_channel").update(value=f'"{setting}"')
    job = (await submit(replace(BACKUP, channel=asked))).job
    rows = await ChatMessage.filter(job_id=job.id).values_list("channel", "part", "platform", "state")
    assert sorted(rows) == sorted(
        (channel, part, channel.partition(":")[0], "unsent") for channel in channels for part in ("card", "progress")
    )


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda row: row.update(host="elsewhere"), ConflictError),
        (lambda row: row.update(lane="other"), ConflictError),
        (lambda row: row.delete(), NotFoundError),
    ],
    ids=["host", "lane", "removed"],
)
async def test_repository_that_is_changed_or_removed_after_the_check_gets_no_job(opened, monkeypatch, change, refusal):
    await repository_row("photos", Path("/r"), [])

    async def after_the_change(work):
        await change(Repository.filter(name="photos"))
        return await unit(work)

    monkeypatch.setattr("jobs.submit.unit", after_the_change)
    with pytest.raises(refusal):
        await submit(BACKUP)
    assert (await Job.all().count(), await AuditEntry.all().count()) == (0, 0)


async def test_job_is_accepted_while_redis_is_away(sqlite_url, tmp_path):
    async with database(sqlite_url), open_queue(f"unix://{tmp_path}/nowhere.sock") as queue:
        await repository_row("photos", Path("/r"), [])
        async with asyncio.timeout(5):
            job = (await submit(BACKUP)).job
        assert not await queue.answers()
        claimed = await claim_next(Claimant("test-host", "d", 1))
        assert claimed is not None
        assert claimed.id == job.id


async def test_retry_asks_for_the_same_again(photos):
    first = (await submit(replace(BACKUP, request_key="k"))).job
    await end(first)
    again = (await retry(first.id, replace(BACKUP, kind="", repository=None, request_key="k2"))).job
    assert (again.kind, again.repository_name, again.retry_of) == ("backup", "photos", first.id)
    await end(again)
    assert (await retry(again.id, JobRequest("", ADMIN, "api"))).job.retry_of == again.id


@pytest.mark.parametrize(("job_id", "refusal"), [(999, NotFoundError), (1, ConflictError)])
async def test_retry_of_nothing_or_of_a_job_that_has_not_ended_is_refused(photos, job_id, refusal):
    job = (await submit(BACKUP)).job
    with pytest.raises(refusal):
        await retry(job.id if job_id == 1 else job_id, JobRequest("", ADMIN, "api"))


async def test_retry_needs_the_right_of_the_job_itself(photos):
    job = (await submit(BACKUP)).job
    await end(job)
    with pytest.raises(ForbiddenError):
        await retry(job.id, JobRequest("", everywhere("x", Role.VIEW), "api"))
