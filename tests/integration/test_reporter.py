"""A thread tells the truth about its job: one card, one progress message, the last state, whatever happens on the way.

Some tests run whole backups; where only the reporter matters, the jobs are rows that are moved by hand.
"""

import asyncio
import contextlib
import itertools
import json
import os
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from bot.slack.client import SlackPlatform
from cli.composition import chat_platforms, secret_box
from jobs import lifecycle, runtime_settings
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import Ending, NewJob
from jobs.models import ChatMessage, Job
from jobs.queue import Queue
from jobs.view import JobStatus, Progress
from tests.fakes.instance import instance, repository_row, settings_for, until
from tests.fakes.slack import HISTORY, POST, REPLIES, UPDATE, FakeSlack, Limit, Posted
from worker import posting
from worker.app import BUDGETS, WorkerContext, WorkerRole, run_worker
from worker.budget import Budget
from worker.reporter import Reporter

CHANNEL = "C1"
PLACE = f"slack:T1:{CHANNEL}"
IN_FLIGHT_S = 0.1
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class ObservedSlack(FakeSlack):
    """Also keeps each refusal: when it was answered (monotonic seconds) and how long it told to wait (seconds)."""

    def __init__(self) -> None:
        super().__init__(channels=(CHANNEL,))
        self.refusals: list[tuple[float, float]] = []

    def _answer(self, method, arguments, authorization):
        status, answer, headers = super()._answer(method, arguments, authorization)
        if status == 429:
            self.refusals.append((time.monotonic(), float(headers["Retry-After"])))
        return status, answer, headers


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again after half a second."""
    monkeypatch.setattr(posting, "FAILURE_DELAY_S", 0.5)


@pytest.fixture
async def slack():
    async with ObservedSlack() as fake:
        yield fake


@pytest.fixture
def settings(tmp_path, sqlite_url, redis_url, slack):
    return settings_for(tmp_path, sqlite_url, redis_url, slack_bot_token=slack.token, slack_api_url=slack.base_url)


@pytest.fixture
def few_files(tmp_path: Path) -> Path:
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "file").write_bytes(b"few bytes")
    return tmp_path / "few"


def messages(slack: FakeSlack, job_id: int, part: str) -> list[Posted]:
    wanted = {"job_id": job_id, "part": part}
    return [m for m in slack.messages[CHANNEL] if wanted.items() <= m.metadata.get("event_payload", {}).items()]


def one(slack: FakeSlack, job_id: int, part: str) -> Posted:
    (message,) = messages(slack, job_id, part)
    return message


def shows(slack: FakeSlack, job_id: int, status: str, parts: tuple[str, ...] = ("card", "progress")) -> bool:
    states = [[m.metadata["event_payload"]["status"] for m in messages(slack, job_id, part)] for part in parts]
    return all(status in state for state in states)


def assert_one_thread(slack: FakeSlack, job_id: int, status: str, *, found: bool = False) -> tuple[Posted, Posted]:
    """One card with one progress message below it, both in this state, and no text sent twice in a row.

    A message that had to be `found` is edited once all the same: nobody knows which text of it had arrived.
    """
    card, progress = one(slack, job_id, "card"), one(slack, job_id, "progress")
    for message in (card, progress):
        assert message.metadata["event_payload"]["status"] == status
        assert f"#{job_id} {status}" in message.text
        contents = [content for _, content in message.edits]
        assert sum(before == after for before, after in itertools.pairwise(contents)) <= found
    assert progress.thread_ts == card.ts
    return card, progress


def assert_refusals_were_obeyed(slack: ObservedSlack) -> None:
    """No call in the time that Slack told to wait, but those that were on their way already."""
    for refused_at, wait_s in slack.refusals:
        assert not [call for call in slack.calls if refused_at + IN_FLIGHT_S < call.at < refused_at + wait_s]


async def back_up(running, repository="photos") -> int:
    status, started = await running.call("POST", "/api/backup/run", json={"repository": repository, "channel": PLACE})
    assert status == 202, started
    return started["job_id"]


async def new_job(host="test-host", **fields) -> Job:
    given = {"repository_name": "photos", "channel": PLACE, **fields}
    new = NewJob("backup", host, "token:test", "api", **given)
    return await unit(partial(lifecycle.create, new))


async def started(job: Job) -> Job:
    return await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="photos-1"))


async def ended(job: Job, status: JobStatus = JobStatus.COMPLETED) -> None:
    await unit(partial(lifecycle.end, job.id, job.attempt, Ending(status, Progress(nfiles=1))))


@contextlib.asynccontextmanager
async def reporting(slack: FakeSlack, queue: Queue, platform: type[SlackPlatform] = SlackPlatform, budget=None):
    """A reporter of its own; yields its platform and its task."""
    async with platform(slack.token, slack.base_url) as connected:
        work = Reporter(connected, queue, budget or Budget(1000, 1000, 0)).run()
        task = asyncio.create_task(work)
        yield connected, task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def let_claims_run_out() -> None:
    await ChatMessage.filter(claim__isnull=False).update(claimed_until=LONG_AGO)


async def test_long_backup_is_one_card_and_one_progress_message_edited_to_the_end(settings, slack, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    for number in range(16):
        (sources / f"{number:02}.bin").write_bytes(os.urandom(64 * 1024 * 1024))
    async with instance(settings) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources], compression="none")
        job = await running.ended(await back_up(running))
        assert job.status == "completed", job.error_message
        await until(lambda: shows(slack, job.id, "completed"))
    card, progress = assert_one_thread(slack, job.id, "completed")
    at_work = [content for _, content in progress.edits if content["metadata"]["event_payload"]["status"] == "running"]
    assert len(at_work) >= 3, "a first text and two edits of it"
    assert any(" MB/s" in content["text"] for content in at_work)
    assert "16 files, 1.1 GB" in progress.text
    times = [at for at, _ in progress.edits]
    assert min(after - before for before, after in itertools.pairwise(times[:-1])) > 1.3
    assert len(card.edits) <= 3
    assert not slack.refusals


async def test_refusal_is_obeyed_and_the_job_goes_on(settings, slack, tmp_path, few_files):
    slack.limits = {POST: Limit(20, 1, per_channel=True), UPDATE: Limit(20, 1)}
    async with instance(settings) as running:
        await running.add_repository("photos", tmp_path / "repo", [few_files])
        asked_at = time.monotonic()
        job = await running.ended(await back_up(running))
        assert job.status == "completed"
        assert time.monotonic() - asked_at < 5
        await until(lambda: shows(slack, job.id, "completed"))
    assert_one_thread(slack, job.id, "completed")
    assert slack.refusals
    assert_refusals_were_obeyed(slack)


@pytest.mark.parametrize("down", ["dropped", "500"])
async def test_thread_is_complete_once_slack_is_back(settings, slack, tmp_path, few_files, down, soon):
    async with instance(settings) as running:
        await running.add_repository("photos", tmp_path / "repo", [few_files])
        slack.down = down
        job = await running.ended(await back_up(running))
        assert job.status == "completed"
        await until(lambda: len(slack.calls) >= 2)
        assert not slack.messages[CHANNEL]
        slack.down = None
        await until(lambda: shows(slack, job.id, "completed"))
    assert_one_thread(slack, job.id, "completed")


async def test_message_whose_answer_was_lost_is_found_and_not_posted_twice(opened_sqlite, slack, soon):
    slack.lose_next_answer(POST)
    slack.lose_next_answer(POST)
    async with reporting(slack, opened_sqlite):
        job = await started(await new_job())
        await until(lambda: shows(slack, job.id, "running"))
        await ended(job)
        await until(lambda: shows(slack, job.id, "completed"))
    assert_one_thread(slack, job.id, "completed", found=True)
    assert len(slack.called(POST)) == 2
    assert len(slack.called(HISTORY)) == len(slack.called(REPLIES)) == 1


async def test_card_whose_answer_was_lost_is_posted_anew_in_the_same_channel_where_none_can_be_read(
    opened_sqlite, slack, soon
):
    """`chat:write.public` posts into a public channel that the bot never joined; its history is for members."""
    slack.messages["C2"] = []
    await unit(partial(runtime_settings.store, {"default_channel": "slack:T1:C2"}))
    slack.lose_next_answer(POST)
    slack.fail_next(HISTORY, "not_in_channel")
    async with reporting(slack, opened_sqlite):
        job = await started(await new_job())
        await until(lambda: shows(slack, job.id, "running"))
        await ended(job)
        await until_settled(job)
    last = messages(slack, job.id, "card")[-1]
    assert "#1 completed" in last.text
    assert one(slack, job.id, "progress").thread_ts == last.ts
    assert slack.messages["C2"] == []


async def test_thread_stays_where_it_was_asked_until_the_token_is_mended(opened_sqlite, slack):
    slack.messages["C2"] = []
    await unit(partial(runtime_settings.store, {"default_channel": "slack:T1:C2"}))
    async with reporting(slack, opened_sqlite):
        slack.token = "xoxb-new"
        job = await new_job()
        await until_refused(job)
    async with reporting(slack, opened_sqlite):
        await until(lambda: shows(slack, job.id, "pending"))
    assert slack.messages["C2"] == []
    assert (await Job.get(id=job.id)).note is None


@pytest.mark.parametrize(
    ("asked", "own", "default", "tried"),
    [
        ("C9", "C8", CHANNEL, ["C9", "C8", CHANNEL]),
        (None, "C8", CHANNEL, ["C8", CHANNEL]),
        ("C9", None, CHANNEL, ["C9", CHANNEL]),
        ("C9", CHANNEL, "C9", ["C9", CHANNEL]),
        ("C9", "C8", "C9", ["C9", "C8", "C9"]),
        ("C9", "C8", "C8", ["C9", "C8"]),
    ],
)
async def test_thread_that_its_channel_refuses_is_shown_in_the_repositorys_else_in_the_default_one(
    opened_sqlite, slack, asked, own, default, tried
):
    asked, own, default = (channel and f"slack:T1:{channel}" for channel in (asked, own, default))
    photos = await repository_row("photos", Path("/r/photos"), [Path("/home")], channel=own)
    await unit(partial(runtime_settings.store, {"default_channel": default}))
    async with reporting(slack, opened_sqlite):
        job = await new_job(repository_id=photos.id, channel=asked)
        if tried[-1] == CHANNEL:
            await until(lambda: shows(slack, job.id, "pending"))
            assert "not shown where it was asked: " in one(slack, job.id, "card").text
        else:
            await until_refused(job)
    cards = [call for call in slack.called(POST) if not call.arguments.get("thread_ts")]
    assert [call.arguments["channel"] for call in cards] == tried


@pytest.mark.parametrize("part", ["card", "progress"])
async def test_message_that_a_person_deleted_is_posted_anew_once(opened_sqlite, slack, soon, part):
    async with reporting(slack, opened_sqlite):
        job = await started(await new_job())
        await until(lambda: shows(slack, job.id, "running"))
        slack.messages[CHANNEL].remove(one(slack, job.id, part))
        await ended(job)
        await until(lambda: shows(slack, job.id, "completed"))
    one(slack, job.id, "card")
    one(slack, job.id, "progress")
    assert len(slack.called(POST)) == 3


async def test_further_reply_of_a_failure_comes_below_a_card_that_was_deleted_and_posted_anew(
    opened_sqlite, slack, soon
):
    async with reporting(slack, opened_sqlite):
        job = await started(await new_job())
        await until(lambda: shows(slack, job.id, "running"))
        slack.messages[CHANNEL].clear()
        await ended(job, JobStatus.FAILED)
        await until(lambda: shows(slack, job.id, "failed", ("card", "progress", "failure")))
    card, progress = assert_one_thread(slack, job.id, "failed")
    assert one(slack, job.id, "failure").thread_ts == progress.thread_ts == card.ts


async def test_card_says_that_its_job_was_retried_while_its_end_was_shown(opened_sqlite, slack):
    async with reporting(slack, opened_sqlite):
        job = await started(await new_job())
        await until(lambda: shows(slack, job.id, "running"))
        slack.delay_s[UPDATE] = 0.5
        await ended(job, JobStatus.CANCELLED)
        await until_row_is_claimed(job)
        await new_job(retry_of=job.id)
        await until(lambda: "Retried as #2" in json.dumps(one(slack, job.id, "card").content))


async def test_two_service_workers_show_one_thread_a_job(settings, slack, tmp_path, few_files):
    slack.limits = {}
    async with instance(settings, WorkerRole.HOST) as running, contextlib.AsyncExitStack() as opened:
        working = []
        for _ in range(2):
            platforms = await opened.enter_async_context(chat_platforms(settings))
            box = secret_box(settings)
            context = WorkerContext(settings, running.queue, WorkerRole.SERVICE, platforms, box)
            working.append(asyncio.create_task(run_worker(context, asyncio.Event())))
        await running.add_repository("photos", tmp_path / "repo", [few_files])
        job_ids = [await back_up(running) for _ in range(3)]
        for job_id in job_ids:
            assert (await running.ended(job_id)).status == "completed"
        await until(lambda: all(shows(slack, job_id, "completed") for job_id in job_ids))
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    for job_id in job_ids:
        assert_one_thread(slack, job_id, "completed")
    assert len(slack.called(POST)) == 2 * len(job_ids)


async def test_post_that_outlived_its_claim_is_taken_back_when_another_was_posted(opened_sqlite, slack):
    slack.limits = {}
    slack.delay_s = {POST: 2.5}
    async with reporting(slack, opened_sqlite), reporting(slack, opened_sqlite):
        job = await started(await new_job())
        await until_row_is_claimed(job)
        await let_claims_run_out()
        await opened_sqlite.publish(job.id)
        await slack.until(lambda: len(slack.called(POST)) >= 2)
        await ended(job)
        await until(lambda: shows(slack, job.id, "completed") and len(messages(slack, job.id, "card")) == 1)
        await until_settled(job)
    assert_one_thread(slack, job.id, "completed")
    assert len(slack.called("chat.delete")) == 1


class CountingBudget(Budget):
    """Also counts the calls that it refused."""

    refused = 0

    def take(self, now_s, *, urgent):
        taken = super().take(now_s, urgent=urgent)
        self.refused += not taken
        return taken


async def test_place_in_the_queue_is_told_but_never_with_what_is_saved_for_the_ends(opened_sqlite, slack):
    budget = CountingBudget(rate=0, capacity=6, reserve=2)
    holder = await started(await new_job(lane="x", channel=None))
    first, second = await new_job(lane="x"), await new_job(lane="x")
    async with reporting(slack, opened_sqlite, budget=budget):
        await until(lambda: shows(slack, first.id, "pending") and shows(slack, second.id, "pending"))
        for job, place in ((first, "next in the queue"), (second, "place 2 in the queue")):
            assert f"waiting for #{holder.id} (backup, running), {place}" in one(slack, job.id, "card").text
            assert one(slack, job.id, "progress").text.endswith(f"waiting for #{holder.id} (backup, running)")
        before, refused = len(slack.calls), budget.refused
        for _ in range(2):
            await new_job(lane="x", channel=None, priority=1)
        await until(lambda: budget.refused >= refused + 2)
        assert len(slack.calls) == before
        await ended(first, JobStatus.CANCELLED)
        await until(lambda: shows(slack, first.id, "cancelled"))
        budget.tokens = 3
        await until(lambda: "place 3 in the queue" in one(slack, second.id, "card").text)
    assert_one_thread(slack, first.id, "cancelled")


async def until_row_is_claimed(job: Job) -> None:
    async with asyncio.timeout(10):
        card = ChatMessage.filter(job_id=job.id, part="card", platform="slack")
        while not await card.filter(claimed_until__gt=now()).exists():
            await asyncio.sleep(0.01)


async def until_refused(job: Job) -> None:
    """Until its thread is given up: what refuses is recorded, and the other channel, in one transaction each."""
    async with asyncio.timeout(30):
        while await ChatMessage.filter(job_id=job.id, platform="slack").exclude(state="refused").exists():
            await asyncio.sleep(0.01)


async def until_settled(job: Job) -> None:
    async with asyncio.timeout(30):
        while await ChatMessage.filter(job_id=job.id, platform="slack", settled=False).exists():
            await asyncio.sleep(0.01)


class DyingPlatform(SlackPlatform):
    """Posts, and then does not come back."""

    async def post(self, channel, thread, message):
        await super().post(channel, thread, message)
        self.posted = True
        await asyncio.Event().wait()

    posted = False


async def test_reporter_killed_between_call_and_record_leaves_one_message(opened, slack):
    for count in (1, 2):  # the card, then the progress message
        async with reporting(slack, opened, DyingPlatform) as (platform, _):
            if count == 1:
                job = await started(await new_job())
            await until(lambda platform=platform: platform.posted)
        await let_claims_run_out()
        assert len(slack.messages[CHANNEL]) == count
    async with reporting(slack, opened):
        await ended(job)
        await until(lambda: shows(slack, job.id, "completed"))
    assert_one_thread(slack, job.id, "completed", found=True)
    assert len(slack.called(POST)) == 2


async def test_what_is_shown_already_is_not_sent_again(opened_sqlite, slack):
    async with reporting(slack, opened_sqlite):
        first = await started(await new_job())
        await until(lambda: shows(slack, first.id, "running"))
        calls = len(slack.calls)
        for _ in range(5):
            await opened_sqlite.publish(first.id)
        second = await started(await new_job())
        await until(lambda: shows(slack, second.id, "running"))
        assert len(slack.calls) == calls + 2
        await ended(first)
        await until_settled(first)
        calls = len(slack.calls)
        for _ in range(5):
            await opened_sqlite.publish(first.id)
        await ended(second)
        await until_settled(second)
        assert len(slack.calls) == calls + 2


async def test_ten_threads_at_once_are_all_shown_within_slacks_limits(opened_sqlite, slack):
    jobs = [await started(await new_job(f"host-{number}")) for number in range(10)]
    for number, job in enumerate(jobs):
        await ended(job, JobStatus.FAILED if number == 7 else JobStatus.COMPLETED)
    async with reporting(slack, opened_sqlite, budget=Budget(*BUDGETS["slack"])):
        for number, job in enumerate(jobs):
            state = "failed" if number == 7 else "completed"
            await until(lambda job=job, state=state: shows(slack, job.id, state), timeout_s=90)
        await until(lambda: shows(slack, jobs[7].id, "failed", ("failure",)))
    for number, job in enumerate(jobs):
        assert_one_thread(slack, job.id, "failed" if number == 7 else "completed")
    assert len(slack.messages[CHANNEL]) == 21
    assert_refusals_were_obeyed(slack)
    assert len(slack.refusals) <= 8


async def test_row_that_was_read_before_anothers_claim_can_not_be_claimed(opened_sqlite):
    job = await new_job()
    early = await ChatMessage.get(job_id=job.id, part="card", platform="slack")
    late = await ChatMessage.get(id=early.id)
    claim = await posting.claim(early)
    assert claim
    await ChatMessage.filter(id=early.id, claim=claim).update(claimed_until=now(), failures=1)  # its answer was lost
    assert await posting.claim(late) is None
    again = await ChatMessage.get(id=early.id)
    assert again.state == "sending"
    assert await posting.claim(again)
