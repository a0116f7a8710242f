"""What can go wrong with a backup, with real borg: each time the right state, a code, and what to do, everywhere."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey

from jobs.models import Repository
from jobs.secrets import HostKey, seal
from tests.fakes.instance import Instance, instance, repository_row, settings_for, until
from tests.fakes.slack import FakeSlack, Posted
from worker.passphrase import PassphraseUnavailableError, passphrase_of

CHANNEL = "C1"
PASSPHRASE = "the right passphrase of the tests"


@dataclass(frozen=True)
class Told:
    """What became of a job, in each place where people look."""

    job: dict[str, Any]
    log: list[str]
    card: Posted
    progress: Posted
    failure: Posted | None


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """borg keeps its cache and its memory of repositories below the worker's HOME."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "noise.bin").write_bytes(os.urandom(24_000_000))
    return directory


@pytest.fixture
async def slack():
    async with FakeSlack(channels=(CHANNEL,)) as fake:
        yield fake


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with less room than the sources need."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if os.geteuid() != 0:
        yield directory
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


@pytest.fixture
def given(tmp_path, sqlite_url, redis_url, slack):
    """The settings of an instance with Slack."""

    def given(**overrides):
        slack_is_on = {"slack_bot_token": slack.token, "slack_api_url": slack.base_url}
        return settings_for(tmp_path, sqlite_url, redis_url, **slack_is_on, **overrides)

    return given


async def backed_up(running: Instance, slack: FakeSlack, repository: str) -> Told:
    body = {"repository": repository, "channel": f"slack:{slack.team}:{CHANNEL}"}
    status, started = await running.call("POST", "/api/backup/run", json=body)
    assert status == 202, started
    job_id = started["job_id"]
    state = (await running.ended(job_id)).status
    parts = {"card", "progress"} | ({"failure"} if state == "failed" else set())

    def thread() -> dict[str, Posted]:
        payloads = [(message, message.metadata["event_payload"]) for message in slack.messages[CHANNEL]]
        return {p["part"]: m for m, p in payloads if p["job_id"] == job_id and p["status"] == state}

    await until(lambda: thread().keys() == parts)
    _, job = await running.call("GET", f"/api/jobs/{job_id}")
    async with running.http.get(f"/api/jobs/{job_id}/logs") as answer:
        log = (await answer.text()).splitlines()
    shown = thread()
    return Told(job, log, shown["card"], shown["progress"], shown.get("failure"))


def assert_told(told: Told, state: str, code: str, advice: str) -> None:
    job_id, sentence = told.job["id"], told.job["error_message"]
    assert (told.job["status"], told.job["error_code"]) == (state, code), sentence
    assert advice in sentence
    assert sentence.endswith(".")
    assert told.log[0].startswith(f"Locutus: job #{job_id}, backup of photos at ")
    assert told.log[-1].startswith("Locutus: ")
    assert len(told.log) >= 2
    assert f"#{job_id} {state}" in told.card.text
    assert f"#{job_id} {state}" in told.progress.text
    for message in (told.card, told.progress):
        assert advice.removesuffix(".") in message.text


def assert_failed(told: Told, code: str, advice: str) -> None:
    assert_told(told, "failed", code, advice)
    assert told.failure is not None
    assert told.failure.thread_ts == told.progress.thread_ts == told.card.ts
    assert told.log[-1][:80] in told.failure.text


async def test_missing_borg_is_named_with_how_to_install_it(given, slack, tmp_path, sources):
    async with instance(given(borg=str(tmp_path / "no-borg"))) as running:
        await repository_row("photos", tmp_path / "repo", [sources])
        told = await backed_up(running, slack, "photos")
    assert_failed(told, "borg_missing", "Install BorgBackup, or set LOCUTUS_BORG")
    assert str(tmp_path / "no-borg") in told.job["error_message"]


async def test_missing_repository_is_told_with_its_place(given, slack, tmp_path, sources):
    async with instance(given()) as running:
        await repository_row("photos", tmp_path / "repo", [sources])
        told = await backed_up(running, slack, "photos")
    assert_failed(told, "repository_missing", "Check that the disk is mounted")
    assert str(tmp_path / "repo") in told.job["error_message"]


async def test_wrong_passphrase_is_told_and_how_to_set_the_right_one(given, slack, tmp_path, sources):
    async with instance(given()) as running:
        await running.add_repository(
            "photos", tmp_path / "repo", [sources], encryption="repokey-blake2", passphrase=PASSPHRASE
        )
        status, answer = await running.call("PUT", "/api/repositories/photos", json={"passphrase": "a wrong one"})
        assert status == 200, answer
        told = await backed_up(running, slack, "photos")
    assert_failed(told, "passphrase_wrong", "Set it with `locutus repo passphrase photos`.")


@pytest.mark.parametrize("others", [True, False])
async def test_missing_source_is_a_warning_that_names_it(given, slack, tmp_path, sources, others):
    missing = tmp_path / "unmounted"
    async with instance(given()) as running:
        await running.add_repository("photos", tmp_path / "repo", [*([sources] if others else []), missing])
        told = await backed_up(running, slack, "photos")
    assert_told(told, "completed", "source_missing", "Check that the disk is mounted")
    assert told.job["warnings"] == 1
    assert str(missing) in told.job["error_message"]
    assert "with 1 warning" in told.card.text
    assert told.job["progress"]["nfiles"] == (1 if others else 0)


async def test_full_disk_of_the_repository_fails_the_job_and_the_next_one_runs(
    given, slack, tmp_path, sources, small_disk
):
    async with instance(given()) as running:
        await running.add_repository("photos", small_disk / "repo", [sources])
        if os.geteuid() != 0:  # who can't mount a small disk has borg demand more room than any disk has
            demand = ["borg", "config", str(small_disk / "repo"), "additional_free_space", "1000000T"]
            await asyncio.to_thread(subprocess.run, demand, check=True)
        told = await backed_up(running, slack, "photos")
        assert_failed(told, "disk_full", "Free space there, or prune and compact")
        (tmp_path / "few").mkdir()
        (tmp_path / "few" / "file").write_bytes(b"few bytes")
        await Repository.filter(name="photos").update(source_directories=[str(tmp_path / "few")])
        if os.geteuid() == 0:
            again = await backed_up(running, slack, "photos")
            assert again.job["status"] == "completed", again.job["error_message"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), ("directory", "Is a directory"), (b"\n", "gives an empty passphrase")],
)
async def test_unusable_passphrase_file_is_told_and_nothing_is_started(
    given, slack, tmp_path, sources, content, reason
):
    file = tmp_path / "passphrase"
    if content == "directory":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    async with instance(given()) as running:
        await repository_row(
            "photos", tmp_path / "repo", [sources], encryption="repokey-blake2", passphrase_file=str(file)
        )
        told = await backed_up(running, slack, "photos")
    assert_failed(told, "passphrase_unavailable", f"The passphrase file {file}")
    assert reason in told.job["error_message"]
    assert not list((tmp_path / "data" / "runs").iterdir())


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["/nowhere/secret-tool"], "can't be run (No such file or directory)"),
        (["false"], "failed with status 1"),
        (["true"], "gives an empty passphrase"),
        (["head", "-c", "5000", "/dev/zero"], "gives more than 4096 bytes"),
    ],
)
async def test_failing_passphrase_command_is_told(given, slack, tmp_path, sources, command, reason):
    async with instance(given()) as running:
        await repository_row(
            "photos", tmp_path / "repo", [sources], encryption="repokey-blake2", passphrase_command=command
        )
        told = await backed_up(running, slack, "photos")
    assert_failed(told, "passphrase_unavailable", f"The passphrase command {command[0]}")
    assert reason in told.job["error_message"]


async def test_passphrase_that_was_sealed_to_another_host_key_must_be_given_again(given, slack, tmp_path, sources):
    foreign = HostKey(PrivateKey.generate())
    async with instance(given()) as running:
        sealed = seal(PASSPHRASE, foreign.public)
        await repository_row("photos", tmp_path / "repo", [sources], encryption="repokey-blake2", passphrase=sealed)
        told = await backed_up(running, slack, "photos")
    assert_failed(told, "passphrase_unavailable", "Give it again.")
    assert PASSPHRASE not in str(told)


async def test_pipe_in_the_place_of_a_passphrase_file_does_not_hold_the_job(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    repository = Repository(name="photos", passphrase_file=str(pipe))
    with pytest.raises(PassphraseUnavailableError, match="not a regular file"):
        await passphrase_of(repository, HostKey.load(tmp_path / "host.key"))
