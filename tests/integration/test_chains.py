"""Chains: what follows a success, in the same thread; and what does not follow anything else."""

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest

from jobs import lifecycle
from jobs.access import Grant, Principal, Role, everywhere
from jobs.cancel import cancel
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.confirmations import confirm
from jobs.database.unit import unit
from jobs.errors import ConflictError, ForbiddenError, InvalidRequestError
from jobs.job_type import FollowUp, Result, Run
from jobs.lifecycle import Ending
from jobs.models import (
    Archive,
    ChatMessage,
    Confirmation,
    ConsoleMessage,
    EventEntry,
    Job,
    Repository,
    ScheduledJob,
    Template,
)
from jobs.place import schedule_of, target_of
from jobs.present import view
from jobs.submit import JobRequest, retry, submit, submit_or_ask
from jobs.types import job_type
from jobs.view import JobStatus, Progress, RemovedArchive
from tests.fakes.instance import ADMIN, instance, repository_row, settings_for
from tests.fakes.slack import FakeSlack
from worker.ending import Conclusion
from worker.following import Following
from worker.preparation import run_of
from worker.recording import _end_job
from worker.run_directory import RunDirectory

CHAIN = ("prune", "compact")
KEPT = {"prune_after": True, "compact_after": True, "keep_last": 1}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """borg keeps its cache and its memory of repositories below the worker's HOME."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def photos(opened_sqlite, tmp_path):
    """A repository whose jobs no worker takes."""
    return await repository_row("photos", tmp_path / "repo", [tmp_path])


async def asked(principal=ADMIN, **request):
    return (await submit(JobRequest("backup", principal, "api", "photos", **request))).job


async def begun(job):
    return await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name=None))


async def ended(job, status=JobStatus.COMPLETED, **said):
    return await unit(partial(lifecycle.end, job.id, job.attempt, Ending(status, **said)))


async def step_after(job):
    return await Job.filter(parent_id=job.parent_id or job.id, status=JobStatus.PENDING).get()


async def scheduled(repository, name, **columns):
    return await ScheduledJob.create(
        name=name, kind="backup", repository=repository, cron_expression="0 2 * * *", timezone="UTC", catch_up="one",
        overlap="queue", priority="normal", created_by="cli", **columns,
    )  # fmt: skip


async def test_prune_and_compact_follow_a_backup_in_its_thread(tmp_path, sqlite_url, redis_url):
    (tmp_path / "sources").mkdir()
    async with FakeSlack(channels=("C1",)) as slack:
        slack_is_on = {"slack_bot_token": slack.token, "slack_api_url": slack.base_url}
        async with instance(settings_for(tmp_path, sqlite_url, redis_url, **slack_is_on)) as running:
            await running.add_repository("photos", tmp_path / "repo", [tmp_path / "sources"])
            for _ in range(2):
                (tmp_path / "sources" / "noise").write_bytes(os.urandom(500_000))
                chain = await chain_of(running, f"slack:{slack.team}:C1")
            first, prune, compact = chain
            assert [(job.kind, job.status) for job in chain[1:]] == [("prune", "completed"), ("compact", "completed")]
            assert {job.parent_id for job in chain[1:]} == {first.id}
            assert [archive.name for archive in await Archive.all()] == [f"photos-nightly-{first.id}"]
            await until_settled(*(job.id for job in chain))

            steps = f"prune #{prune.id} completed, compact #{compact.id} completed"
            card = await ConsoleMessage.get(job_id=first.id, part="card")
            assert [field["value"] for field in card.content["fields"] if field["name"] == "Then"] == [steps]
            replies = await ConsoleMessage.filter(thread_id=card.id).order_by("id")
            in_thread = [(job.id, "progress") for job in chain]
            assert [(reply.job_id, reply.part) for reply in replies] == in_thread
            posted = {
                (m.metadata["event_payload"]["job_id"], m.metadata["event_payload"]["part"]): m
                for m in slack.messages["C1"]
            }
            root = posted[first.id, "card"]
            assert steps in root.text
            assert [key for key, message in posted.items() if message.thread_ts == root.ts] == in_thread
            told = await EventEntry.filter(type="job.completed", job_id__in=[job.id for job in chain])
            assert len(told) == len(chain)


async def chain_of(running, channel):
    """The jobs of a backup that a prune and a compact follow, once all have ended."""
    template = "{repository}-nightly-{job}"
    body = {"repository": "photos", "channel": channel, **KEPT, "archive_name_template": template}
    status, started = await running.call("POST", "/api/backup/run", json=body)
    assert status == 202, started
    jobs = [await running.ended(started["job_id"])]
    for _step in CHAIN:
        step = await Job.filter(parent_id=jobs[0].id).order_by("-id").first()
        assert step is not None
        jobs.append(await running.ended(step.id))
    return jobs


async def until_settled(*job_ids):
    unsettled = ChatMessage.filter(job_id__in=job_ids, settled=False)
    async with asyncio.timeout(30):
        while await unsettled.exists():
            await asyncio.sleep(0.05)


async def test_step_keeps_the_chains_place_in_the_queue_and_what_was_asked_with_it(photos):
    first = await asked(parameters=KEPT, priority="high")
    await ended(await begun(first))
    prune = await step_after(first)
    assert (prune.kind, prune.parameters["keep_last"], prune.queue_rank) == ("prune", 1, first.queue_rank)
    assert (prune.priority, prune.requested_by, prune.lane) == (first.priority, first.requested_by, photos.lane)
    await ended(await begun(prune), warnings=1)
    compact = await step_after(first)
    assert (compact.kind, compact.parent_id, compact.follow_ups) == ("compact", first.id, [])


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
async def test_what_did_not_run_is_said(photos, status):
    first = await ended(await begun(await asked(parameters=KEPT)), status, error_message="It broke.")
    assert first.error_message == "It broke. Prune and compact did not run."
    assert await Job.all().count() == 1
    assert view(first).follow_ups == CHAIN


async def test_cancelling_the_first_job_cancels_the_step_that_goes_on_and_what_would_follow(photos):
    first = await asked(parameters=KEPT)
    await ended(await begun(first))
    cancelled = await cancel(first.id, ADMIN, origin="api")
    assert (cancelled.kind, cancelled.status) == ("prune", "cancelled")
    assert cancelled.error_message == "Compact did not run."
    assert await Job.all().count() == 2
    with pytest.raises(ConflictError, match="has ended already"):
        await cancel(first.id, ADMIN, origin="api")


async def test_step_that_is_cancelled_while_it_runs_ends_the_chain(photos):
    first = await asked(parameters=KEPT)
    await ended(await begun(first))
    prune = await begun(await step_after(first))
    assert (await cancel(first.id, ADMIN, origin="api")).id == prune.id
    assert (await Job.get(id=prune.id)).cancel_requested_by == ADMIN.subject
    await ended(prune, JobStatus.CANCELLED)
    assert await Job.all().count() == 2


async def test_nothing_follows_a_success_whose_end_was_asked_for_before_it_came(photos):
    job = await begun(await asked(parameters=KEPT))
    await cancel(job.id, ADMIN, origin="api")
    done = await ended(job)
    assert (done.status, done.error_message) == (JobStatus.COMPLETED, "Prune and compact did not run.")
    assert not await Job.filter(parent_id=job.id).exists()


async def test_retry_of_a_failed_job_brings_its_chain_along(photos):
    first = await asked(then=(FollowUp("check", {"max_duration": 60}), FollowUp("compact")))
    await ended(await begun(first), JobStatus.FAILED)
    again = (await retry(first.id, JobRequest("", ADMIN, "api"))).job
    assert again.follow_ups == first.follow_ups
    assert [step["kind"] for step in again.follow_ups] == ["check", "compact"]
    assert again.follow_ups[0]["parameters"]["repository_only"] is True


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"then": (FollowUp("backup"),)}, "then"),
        ({"then": (FollowUp("compact"), FollowUp("prune", {"keep_last": 1}))}, "then"),
        ({"then": (FollowUp("dance"),)}, "then"),
        ({"then": (FollowUp("prune"),)}, "keep_daily"),
        ({"then": (FollowUp("check", {"max_duration": 0}),)}, "max_duration"),
        ({"parameters": {"prune_after": True}}, "keep_daily"),
        ({"parameters": {"compression": "gzip"}}, "compression"),
        ({"parameters": {"archive_name_template": "always"}}, "archive_name_template"),
    ],
)
async def test_chain_that_can_not_be_is_refused_and_nothing_is_written(photos, request_, field):
    with pytest.raises(InvalidRequestError) as refused:
        await asked(**request_)
    assert refused.value.field == field
    assert not await Job.exists()


async def test_chain_takes_the_right_that_each_of_its_steps_takes(photos):
    operator = everywhere("token:ci", Role.OPERATE)
    with pytest.raises(ForbiddenError, match="role administer"):
        await asked(operator, parameters=KEPT)
    assert (await asked(operator, then=(FollowUp("check"),))).follow_ups[0]["kind"] == "check"


async def test_same_key_with_another_chain_is_another_request(photos):
    key = {"request_key": "token:ci:1", "parameters": {"keep_last": 2}}
    first = await asked(**key, then=(FollowUp("prune"),))
    assert (await asked(**key, then=(FollowUp("prune"),))).id == first.id
    with pytest.raises(InvalidRequestError, match="it does other work"):
        await asked(**key, then=(FollowUp("check"),))


async def test_schedule_names_its_archives_and_prunes_those_alone(photos):
    schedule = await scheduled(photos, "nightly", archive_name_template="{schedule}-{job}")
    body = {"parameters": {**KEPT, "archive_name_template": schedule.archive_name_template}}
    first = await asked(**body, scheduled_job_id=schedule.id, schedule=schedule.name)
    claimed = await claim_next(Claimant("test-host", "d", 4))
    assert claimed.archive_name == f"nightly-{first.id}"
    await ended(claimed)
    prune = await step_after(first)
    assert (prune.scheduled_job_id, prune.parameters["archive_name_template"]) == (schedule.id, "{schedule}-{job}")
    assert (await claim_next(Claimant("test-host", "d", 4))).id == prune.id


@pytest.mark.parametrize(
    ("template", "own"),
    [("{repository}-{schedule}-{job}", True), ("{repository}-{schedule}-{utcnow}", False)],
)
async def test_schedule_whose_name_begins_anothers_can_not_prune_that_ones_archives(photos, template, own):
    if not own:  # then both are named by the template of their repository
        await Repository.filter(id=photos.id).update(archive_name_template=template, archive_glob="photos-*-*")
    columns = {"archive_name_template": template} if own else {}
    first, _ = [await scheduled(photos, name, **columns) for name in ("nightly", "nightly-full")]
    with pytest.raises(InvalidRequestError, match=r"photos-nightly-\* are also those of the schedule nightly-full"):
        await asked(parameters={**KEPT, **columns}, scheduled_job_id=first.id, schedule="nightly")
    with pytest.raises(InvalidRequestError, match=r"archives named photos-\*-\* are also those of"):
        await asked(parameters={**KEPT, **columns})
    full = {"scheduled_job_id": first.id + 1, "schedule": "nightly-full"}
    job = await asked(parameters={**KEPT, **columns}, **full)
    await ended(await claim_next(Claimant("test-host", "d", 4)))
    prune = await claim_next(Claimant("test-host", "d", 4))
    run = run_of(prune, await prune.get_repository(), await schedule_of(prune))
    assert "--glob-archives=photos-nightly-full-*" in job_type("prune").arguments(run)
    assert (await Job.get(id=job.id)).archive_name.startswith("photos-nightly-full-")


async def test_all_archives_are_pruned_by_who_may_prune_each_that_shares_the_borg_repository(photos):
    await repository_row("mail", Path("/elsewhere"), [], lane=photos.lane)
    limited = Principal("token:x", (Grant(Role.ADMINISTER, repositories=["photos"]),))
    parameters = {"keep_last": 1, "all": True}
    with pytest.raises(ForbiddenError, match="administer on mail"):
        await submit(JobRequest("prune", limited, "api", "photos", parameters=parameters))
    assert (await submit(JobRequest("prune", ADMIN, "api", "photos", parameters=parameters))).created


async def test_repository_named_with_a_year_can_not_prune_what_another_made_in_that_year(photos):
    await repository_row("photos-2026", Path("/elsewhere"), [], lane=photos.lane)
    request = JobRequest("prune", ADMIN, "api", "photos-2026", parameters={"keep_last": 1})
    with pytest.raises(InvalidRequestError, match=r"photos-2026-\* are also those of the repository photos in"):
        await submit(request)


async def test_archives_that_a_schedule_names_by_its_parameters_or_a_template_are_its_own(photos):
    await Template.create(name="weekly", kind="backup", parameters={"archive_name_template": "photos-b-{utcnow:%Y}"})
    await scheduled(photos, "a", parameters={"archive_name_template": "photos-a-{job}"})
    await scheduled(photos, "b", template="weekly")
    for name in ("a", "b"):
        parameters = {"keep_last": 1, "archive_name_template": f"{{repository}}-{name}{{utcnow:-%A}}-{{job}}"}
        with pytest.raises(InvalidRequestError, match=f"are also those of the schedule {name} "):
            await submit(JobRequest("prune", ADMIN, "api", "photos", parameters=parameters))


async def test_retry_of_a_schedules_job_is_named_and_pruned_as_the_schedules(photos):
    schedule = await scheduled(photos, "nightly", archive_name_template="{schedule}-{job}")
    body = {"parameters": {**KEPT, "archive_name_template": schedule.archive_name_template}}
    first = await asked(**body, scheduled_job_id=schedule.id, schedule=schedule.name)
    await ended(await begun(first), JobStatus.FAILED)
    again = (await retry(first.id, JobRequest("", ADMIN, "api"))).job
    claimed = await claim_next(Claimant("test-host", "d", 4))
    assert (claimed.scheduled_job_id, claimed.archive_name) == (schedule.id, f"nightly-{again.id}")


async def test_template_that_took_others_archives_meanwhile_ends_the_prune_before_it_starts(photos):
    job = (await submit(JobRequest("prune", ADMIN, "api", "photos", parameters={"keep_last": 1}))).job
    await repository_row("photos-raw", Path("/elsewhere"), [], lane=photos.lane)
    assert await claim_next(Claimant("test-host", "d", 4)) is None
    refused = await Job.get(id=job.id)
    assert (refused.status, refused.error_code) == ("failed", "not_startable")
    assert "also those of the repository photos-raw" in refused.error_message
    await Repository.filter(name="photos-raw").delete()


async def test_chain_with_a_step_that_destroys_is_asked_about_in_chat_and_starts_whole(photos):
    request = JobRequest("backup", ADMIN, "slack", "photos", then=(FollowUp("prune", {"keep_last": 1}),))
    question = await submit_or_ask(request)
    assert isinstance(question, Confirmation)
    assert any("keep 1 last" in sentence for sentence in question.plan)
    job = await confirm(question.id, ADMIN, origin="slack")
    assert [(step["kind"], step["parameters"]["keep_last"]) for step in job.follow_ups] == [("prune", 1)]


@pytest.mark.parametrize("retried", [False, True])
async def test_archives_are_listed_anew_after_a_prune_that_was_ended_in_the_middle(photos, retried):
    """Cancelled, or broken off by a failure that passes, after which another try removes the rest."""
    job = (await submit(JobRequest("prune", ADMIN, "api", "photos", parameters={"keep_last": 1}))).job
    prune = await begun(job)
    following = Following(
        prune, job_type("prune"), Run(prune.id, target_of(photos), {}), RunDirectory(Path("/nowhere"))
    )
    following.reader.progress = Progress(removed=(RemovedArchive("a" * 64, "photos-1"),))
    conclusion = Conclusion(Ending(JobStatus.CANCELLED), "Locutus: cancelled\n")
    if retried:
        prune.retries = 1
        conclusion = Conclusion(Ending(JobStatus.COMPLETED), "Locutus: borg prune ended\n", Result(done=False))
    await unit(partial(_end_job, following, conclusion, keep_lane=False))
    listing = await step_after(prune)
    assert (listing.kind, listing.repository_name) == ("list_archives", "photos")


async def test_who_confirms_a_prune_sees_the_archives_that_it_chooses_from(photos):
    for number in range(23):
        await Archive.create(repository=photos, borg_id=f"{number:064x}", name=f"photos-{number}", started_at=now())
    question = await submit_or_ask(
        JobRequest("prune", ADMIN, "slack", "photos", parameters={"keep_last": 1, "all": True})
    )
    assert isinstance(question, Confirmation)
    assert "chooses from 23 known archives: photos-22, " in question.plan[-1]
    assert question.plan[-1].endswith(" and 3 more.")
