"""The life of every job type with its real program: through a restart of its worker, a cancel, a failure.

One instance runs a job of each kind at once, three times over; each test then looks at one kind.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs.borg.environment import environment
from jobs.clock import now
from jobs.models import Archive, ConsoleMessage, Job
from jobs.submit import JobRequest, submit
from jobs.types import JOB_TYPES
from tests.fakes.instance import ADMIN, Instance, instance, repository_row, settings_for, until
from tests.fakes.job_types import ARCHIVE, HeldPrograms, example
from tests.fakes.machine import let_claims_run_out
from webhooks.api.job_kinds import start_body

KINDS = pytest.mark.parametrize("kind", JOB_TYPES)
HOST = "test-host"


@dataclass
class Ended:
    """A job that has ended: as the API shows it, its log, what its thread shows, the calls of its program."""

    job: dict[str, Any]
    log: list[str]
    thread: dict[str, str]
    calls: int


@dataclass
class Lives:
    """What became of each kind's jobs."""

    restarted: dict[str, Ended] = field(default_factory=dict)
    cancelled: dict[str, Ended] = field(default_factory=dict)
    failed: dict[str, Ended] = field(default_factory=dict)


@pytest.fixture(scope="module")
def lives(tmp_path_factory, sqlite_template, redis_socket):
    directory = tmp_path_factory.mktemp("lives")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(directory / "home"))
        shutil.copy(sqlite_template, directory / "locutus.db")
        subprocess.run(["redis-cli", "-s", redis_socket, "flushall"], check=True, stdout=subprocess.DEVNULL)
        return asyncio.run(_lived(directory, f"unix://{redis_socket}"))


async def _lived(directory: Path, redis_url: str) -> Lives:
    programs = HeldPrograms(directory / "programs")
    settings = settings_for(
        directory, f"sqlite://{directory}/locutus.db", redis_url,
        borg=str(programs.borg), install_package=programs.install, max_jobs=len(JOB_TYPES) + 1,
    )  # fmt: skip
    lives = Lives()
    with contextlib.closing(programs):
        async with instance(settings) as running:
            await _repositories(directory)
            jobs = await _held(running, programs)
        async with instance(settings) as running:
            await let_claims_run_out()
            programs.let_go(len(jobs))
            lives.restarted = await _ended(running, programs, jobs)
            jobs = await _held(running, programs)
            for job_id in jobs.values():
                status, answer = await running.call("POST", f"/api/jobs/{job_id}/cancel")
                assert status in {200, 202}, answer
            lives.cancelled = await _ended(running, programs, jobs)
            await _break(directory, programs)
            programs.let_go(len(jobs))
            jobs = {kind: await _started(running, kind) for kind in JOB_TYPES}
            lives.failed = await _ended(running, programs, jobs)
    return lives


async def _repositories(directory: Path) -> None:
    """A borg repository for each kind, with one archive; copies of one, each with an id of its own."""
    (directory / "sources").mkdir()
    (directory / "sources" / "file").write_bytes(os.urandom(100_000))
    template = directory / "template"
    await _borg("init", "--encryption", "none", str(template))
    await _borg("create", f"{template}::{ARCHIVE}", str(directory / "sources"))
    for kind in JOB_TYPES:
        place = directory / "repositories" / kind
        if kind != "repository_init":
            shutil.copytree(template, place)
            lines = (place / "config").read_text().splitlines()
            new = [f"id = {secrets.token_hex(32)}" if line.startswith("id = ") else line for line in lines]
            (place / "config").write_text("\n".join(new) + "\n")
        row = await repository_row(kind.replace("_", "-"), place, [directory / "sources"])
        await Archive.create(repository=row, borg_id="0" * 64, name=ARCHIVE, started_at=now())


async def _borg(*arguments: str) -> None:
    given = environment(os.environ, base_dir=None, passphrase_given=False)
    await asyncio.to_thread(subprocess.run, ["borg", *arguments], env=given, check=True, capture_output=True)


async def _held(running: Instance, programs: HeldPrograms) -> dict[str, int]:
    """A job of each kind, whose program has been called and waits."""
    before = len(programs.calls())
    jobs = {kind: await _started(running, kind) for kind in JOB_TYPES}
    await until(lambda: len(programs.calls()) == before + len(jobs), 60)
    for job_id in jobs.values():
        await running.until(job_id, lambda job: job.status == "running")
    return jobs


async def _started(running: Instance, kind: str) -> int:
    declared = JOB_TYPES[kind]
    repository = kind.replace("_", "-") if declared.needs_repository else None
    parameters = example(declared, str(running.settings.data_dir.parent))
    if declared.routes.start is None:
        request = JobRequest(kind, ADMIN, "test", repository, parameters, host=None if repository else HOST)
        return (await submit(request)).job.id
    said = parameters | ({"repo": repository, "repository": repository} if repository else {})
    path = declared.routes.start.format(**said)
    in_body = set(start_body(declared).model_fields)
    body = {name: value for name, value in said.items() if name in in_body}
    status, answer = await running.call("POST", path, json=body)
    assert status == 202, answer
    return int(answer["job_id"])


async def _ended(running: Instance, programs: HeldPrograms, jobs: dict[str, int]) -> dict[str, Ended]:
    return {kind: await _one_ended(running, programs, job_id) for kind, job_id in jobs.items()}


async def _one_ended(running: Instance, programs: HeldPrograms, job_id: int) -> Ended:
    row = await running.ended(job_id)
    path = JOB_TYPES[row.kind].routes.status
    _, job = await running.call("GET", path.format(id=job_id) if path else f"/api/jobs/{job_id}")
    async with running.http.get(f"/api/jobs/{job_id}/logs") as answer:
        log = (await answer.text()).splitlines()
    thread = await _thread(row)
    target = log[0].rpartition(": ")[2].partition(" ")[2]
    return Ended(job, log, thread, programs.calls().count(target))


async def _thread(job: Job) -> dict[str, str]:
    async with asyncio.timeout(30):
        while True:
            rows = await ConsoleMessage.filter(job_id=job.id)
            shown = {str(row.part): row.content for row in rows}
            if parts_of(job.status) <= shown.keys() and all(c["status"] == job.status for c in shown.values()):
                return {part: f"{content['headline']} {content['state']}" for part, content in shown.items()}
            await asyncio.sleep(0.05)


def parts_of(status: str) -> set[str]:
    return {"card", "progress"} | ({"failure"} if status == "failed" else set())


async def _break(directory: Path, programs: HeldPrograms) -> None:
    """Have every kind fail: its repository is gone; where one is to be made, something stands in the place."""
    programs.break_install()
    for place in (directory / "repositories").iterdir():
        if place.name != "repository_init":
            await asyncio.to_thread(shutil.rmtree, place)


@KINDS
def test_run_goes_on_through_a_restart_of_its_worker(lives, kind):
    ended = lives.restarted[kind]
    assert ended.job["status"] == "completed", ended
    assert ended.job["progress"]["progress_percent"] == 100
    assert sum(line.startswith(f"Locutus: job #{ended.job['id']}, {kind}") for line in ended.log) == 1
    assert ended.log[-1].startswith("Locutus: exited, exit status 0")
    assert ended.calls == 1
    assert ended.job["attempt"] == 1


@KINDS
def test_cancelled_run_ends_as_cancelled(lives, kind):
    ended = lives.cancelled[kind]
    assert (ended.job["status"], ended.job["cancelled_by"]) == ("cancelled", "token:admin"), ended
    assert any(line.startswith("Locutus: cancelled") for line in ended.log)


@KINDS
def test_failed_run_says_why_and_what_to_do_now(lives, kind):
    ended = lives.failed[kind]
    assert ended.job["status"] == "failed", ended
    assert ended.job["error_code"]
    what, _, now = ended.job["error_message"].partition(". ")
    assert what
    assert now.endswith(".")
    assert ended.log[-1].startswith("Locutus: ")


@KINDS
@pytest.mark.parametrize("end", ["restarted", "cancelled", "failed"])
def test_thread_names_the_job_and_its_end(lives, kind, end):
    ended = getattr(lives, end)[kind]
    assert ended.thread.keys() == parts_of(end)
    assert all(f"#{ended.job['id']} {ended.job['status']}" in text for text in ended.thread.values())
