"""The main way, whole: a signed slash command, real borg, a thread in a strict imitation of Slack, a signed webhook."""

import base64
import json
import secrets
import subprocess
import time
from pathlib import Path

import pytest

from jobs.models import AuditEntry, Job, RoleBinding
from tests.fakes.instance import instance, settings_for, until
from tests.fakes.slack import WHISPER, FakeSlack, block_action, sign, slash_command
from tests.fakes.webhook_receiver import WebhookReceiver

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


async def send_signed(running, body):
    async with running.http.post(
        "/slack/events", data=body, headers=sign(SIGNING_SECRET, body, int(time.time()))
    ) as answer:
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
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    async with (
        WebhookReceiver(secret) as receiver,
        instance(slack_settings(tmp_path, database_url, redis_url, slack)) as running,
    ):
        await running.add_repository("photos", tmp_path / "repo", [sources])
        body = {"url": receiver.url, "secret": secret, "events": ["job.completed"]}
        assert (await running.call("POST", "/api/subscriptions", json=body))[0] == 201
        await grant()
        status, text = await send(running, "run photos")
        assert status == 200
        assert "Job #2 is queued" in text
        job = await running.ended(2)
        assert job.status == "completed", job.error_message
        await until(lambda: len([m for m in slack.messages[CHANNEL] if "completed" in m.text]) == 2)
        await until(lambda: receiver.received)
        event = json.loads(receiver.received[0].body)
        assert (event["type"], event["data"]["id"]) == ("job.completed", 2)
        async with running.http.get(event["data"]["logs_url"].removeprefix(running.settings.base_url)) as log:
            lines = (await log.text()).splitlines()
        assert lines[0].startswith("Locutus: job #2, backup of photos")
        assert lines[-1].startswith("Locutus: exited, exit status 0")
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


async def test_unknown_user_is_refused_with_the_grant_to_run_and_only_that_is_written(
    tmp_path, sqlite_url, redis_url, slack, sources
):
    async with instance(slack_settings(tmp_path, sqlite_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        before = await Job.all().count(), await AuditEntry.filter(result="accepted").count()
        status, text = await send(running, "run photos")
        assert status == 200
        assert "locutus grant slack:T1:U1 operate" in text
        assert (await Job.all().count(), await AuditEntry.filter(result="accepted").count()) == before
        assert (await AuditEntry.get(result="refused")).subject == "slack:T1:U1"


async def test_wrong_old_replayed_and_malformed_requests(tmp_path, sqlite_url, redis_url, slack, sources):
    async with instance(slack_settings(tmp_path, sqlite_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await grant()
        assert (await send(running, "run photos", secret="another secret"))[0] == 401
        assert (await send(running, "run photos", timestamp=int(time.time()) - 600))[0] == 401
        assert (await send(running, "run photos", body=b"text=run+photos"))[0] == 401
        for junk in (b"payload=%7Bnot+json", b"[1, 2]", b"command=%2Fbackup&text=run+photos"):
            status, text = await send_signed(running, junk)
            assert status == 400
            assert "Traceback" not in text
        first = await send(running, "run photos")
        assert await send(running, "run photos") == first
        assert await Job.filter(kind="backup").count() == 1
        await running.ended(2)


async def test_cancel_button_ends_the_job_and_the_card_says_who_pressed_it(
    tmp_path, sqlite_url, redis_url, slack, sources
):
    with (sources / "big.bin").open("wb") as file:
        file.truncate(40_000_000_000)
    async with instance(slack_settings(tmp_path, sqlite_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await grant()
        await send(running, "run photos")
        await running.until(2, lambda job: job.status == "running")
        await until(lambda: any("running" in message.text for message in slack.messages[CHANNEL]))
        card = slack.messages[CHANNEL][0]
        headers, body = block_action(SIGNING_SECRET, "job.cancel", "2", message=card, user=USER)
        async with running.http.post("/slack/events", data=body, headers=headers) as answer:
            assert answer.status == 200
        job = await running.ended(2)
        assert (job.status, job.cancel_requested_by) == ("cancelled", f"slack:{TEAM}:{USER}")
        await until(lambda: "cancelled" in card.text)
        assert USER in str(card.content)


async def test_click_is_answered_at_once_and_refused_in_private(tmp_path, sqlite_url, redis_url, slack, sources):
    async with instance(slack_settings(tmp_path, sqlite_url, redis_url, slack)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await grant()
        await send(running, "run photos")
        await running.ended(2)
        await until(lambda: slack.messages[CHANNEL])
        slack.delay_s = {WHISPER: 2.0}
        headers, body = block_action(
            SIGNING_SECRET, "job.retry", "2", message=slack.messages[CHANNEL][0], user="U2", trigger_id="another"
        )
        begun = time.monotonic()
        async with running.http.post("/slack/events", data=body, headers=headers) as answer:
            assert answer.status == 200
        assert time.monotonic() - begun < 1
        await until(lambda: slack.called(WHISPER))
        (whisper,) = slack.called(WHISPER)
        assert (whisper.arguments["channel"], whisper.arguments["user"]) == (CHANNEL, "U2")
        assert f"`locutus grant slack:{TEAM}:U2 operate`" in whisper.arguments["text"]
        assert await Job.filter(kind="backup").count() == 1
