"""The main way, whole: a signed slash command, real borg, a thread in a strict imitation of Slack, a signed webhook."""

import asyncio
import json
import subprocess
import time
from pathlib import Path

import pytest

from jobs.models import AuditEntry, ConsoleMessage, Job, RoleBinding
from tests.fakes.instance import instance, settings_for, until
from tests.fakes.slack import FakeSlack, slash_command

SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TEAM, USER, CHANNEL = "T1", "U1", "C1"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "sources"
    directory.mkdir()
    for number in range(20):
        (directory / f"file-{number}.bin").write_bytes(bytes([number]) * 50_000)
    return directory


@pytest.fixture
async def slack():
    async with FakeSlack(team=TEAM, channels=[CHANNEL]) as fake:
        yield fake


def slack_settings(tmp_path, database_url, redis_url, slack, **overrides):
    return settings_for(
        tmp_path,
        database_url,
        redis_url,
        slack_bot_token=slack.token,
        slack_signing_secret=SIGNING_SECRET,
        slack_api_url=slack.base_url,
        **overrides,
    )


async def send(running, text, *, trigger="trigger-1", timestamp=None, secret=SIGNING_SECRET, user=USER, body=None):
    headers, signed = slash_command(
        secret, text, user=user, team=TEAM, channel=CHANNEL, trigger_id=trigger, timestamp=timestamp or int(time.time())
    )
    async with running.http.post("/slack/events", data=body or signed, headers=headers) as answer:
        return answer.status, await answer.text()


async def grant(subject=f"slack:{TEAM}:{USER}", role="operate"):
    await RoleBinding.create(subject=subject, role=role)


def borg_info(repository: Path, archive: str, environment: dict[str, str]) -> dict:
    argv = ["borg", "info", "--json", f"{repository}::{archive}"]
    output = subprocess.run(argv, env=environment, check=True, capture_output=True).stdout
    return json.loads(output)["archives"][0]["stats"]


async def test_slash_command_becomes_a_finished_thread_and_an_archive(
    tmp_path, database_url, redis_url, slack, sources, borg_environment
):
    async with instance(slack_settings(tmp_path, database_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await grant()
        status, text = await send(running, "run photos")
        assert status == 200
        assert "Job #2 is queued" in text
        job = await running.ended(2)
        assert job.status == "completed", job.error_message
        await until(lambda: any("completed" in m.text for m in slack.messages[CHANNEL] if "#2" in m.text))
        await until(lambda: len([m for m in slack.messages[CHANNEL] if "completed" in m.text]) == 2)
        card, progress = slack.messages[CHANNEL]
        assert progress.thread_ts == card.ts
        assert card.metadata["event_payload"] == {"job_id": 2, "status": "completed", "part": "card"}
        assert "20 files" in progress.text
        stats = borg_info(tmp_path / "repo", job.archive_name, borg_environment)
        assert job.progress["nfiles"] == stats["nfiles"]
        # borg create counts the archive's own record in, which borg info leaves out
        assert 0 <= job.progress["original_size"] - stats["original_size"] < 4096


async def test_answer_comes_at_once_while_slack_itself_is_slow(tmp_path, sqlite_url, redis_url, slack, sources):
    async with instance(slack_settings(tmp_path, sqlite_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await grant()
        slack.delay_s = {"chat.postMessage": 2.0, "chat.update": 2.0}
        begun = time.monotonic()
        status, _ = await send(running, "run photos")
        assert status == 200
        assert time.monotonic() - begun < 1
        job = await running.ended(2)
        assert (job.completed_at - job.created_at).total_seconds() < 10


async def test_unknown_user_is_refused_with_the_grant_to_run_and_nothing_is_written(
    tmp_path, sqlite_url, redis_url, slack, sources
):
    async with instance(slack_settings(tmp_path, sqlite_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        before = await Job.all().count(), await AuditEntry.all().count()
        status, text = await send(running, "run photos")
        assert status == 200
        assert "locutus grant slack:T1:U1 operate" in text
        assert (await Job.all().count(), await AuditEntry.all().count()) == before


async def test_wrong_old_replayed_and_malformed_requests(tmp_path, sqlite_url, redis_url, slack, sources):
    async with instance(slack_settings(tmp_path, sqlite_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await grant()
        assert (await send(running, "run photos", secret="another secret"))[0] == 401
        assert (await send(running, "run photos", timestamp=int(time.time()) - 600))[0] == 401
        assert (await send(running, "run photos", body=b"text=run+photos"))[0] == 401
        first = await send(running, "run photos")
        assert await send(running, "run photos") == first
        assert await Job.filter(kind="backup").count() == 1
        await running.ended(2)
