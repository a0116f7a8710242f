"""What a pipeline runs: every snippet of docs/ci.md and the one file, with nothing but a secret, on a real gateway."""

import asyncio
import os
import re
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from cli import ci_trigger
from cli.__main__ import app
from jobs import lifecycle
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.models import Job
from jobs.view import JobStatus
from tests.conftest import free_port
from tests.fakes.gateway import served
from tests.fakes.hook_senders import STANDARD_SECRET
from tests.fakes.raw_endpoint import OK, RawEndpoint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/ci.md").read_text()
FENCED = dict(re.findall(r"^## ([^\n]+)\n.*?^```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def script(title):
    """The commands of a snippet, as its platform hands them to a shell."""
    if title == "GitHub Actions":
        return yaml.safe_load(FENCED[title])["jobs"]["backup"]["steps"][-1]["run"]
    if title == "GitLab CI":
        return "set -eo pipefail\n" + "\n".join(yaml.safe_load(FENCED[title])["backup"]["script"])
    return FENCED[title]


@pytest.fixture
async def api(opened_sqlite, tmp_path):
    async with served(opened_sqlite, tmp_path) as api:
        yield api


@pytest.fixture
async def hook(api):
    """A hook's address."""
    await api.repository("photos")
    action = {"kind": "backup", "repository": "photos"}
    made = {"name": "deploy", "scheme": "standard", "secret": STANDARD_SECRET, "action": action, "coalesce": False}
    assert (await api.post("/api/hooks", made)).status == 201
    return str(api.client._base_url / "hooks/deploy")


async def end_the_next(queue, status):
    """Take and end the job that comes, as a worker does."""
    with queue.ear() as ear:
        while (job := await Job.filter(status="pending").first()) is None:
            await ear.wait(0.2)
    await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="a"))
    await unit(partial(lifecycle.end, job.id, 1, Ending(status, error_message="why")))


async def shell(commands, directory, url, **variables):
    """Run as on a runner: a checkout with the one file, and the secret in variable and file."""
    (directory / ".ci").mkdir(exist_ok=True)
    (directory / ".ci/ci_trigger.py").write_text((ROOT / "cli/ci_trigger.py").read_text())
    secret_file = directory / "secret"
    secret_file.write_text(STANDARD_SECRET)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(directory), "LOCUTUS_HOOK": url, "RUNNER_TEMP": str(directory),
        "LOCUTUS_SECRET": str(secret_file) if "CI_JOB_ID" in commands else STANDARD_SECRET,
        "GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "backup", "CI_JOB_ID": "8", **variables,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "bash", "-e", "-c", commands, cwd=directory, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize("title", ["GitHub Actions", "GitLab CI", "curl and openssl"])
@pytest.mark.parametrize(("status", "expected"), [(JobStatus.COMPLETED, 0), (JobStatus.FAILED, 1)])
async def test_snippet_starts_a_job_and_exits_as_it_ended(opened_sqlite, hook, tmp_path, title, status, expected):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(end_the_next(opened_sqlite, status))
        returned, said = await shell(script(title), tmp_path, hook)
    assert returned == expected, said
    assert STANDARD_SECRET not in said
    assert (await Job.get()).requested_by == "hook:deploy"


async def test_jobs_of_one_run_are_deliveries_of_their_own(hook, tmp_path):
    for job in ("backup", "release"):
        returned, said = await shell(script("GitHub Actions").replace("--wait", ""), tmp_path, hook, GITHUB_JOB=job)
        assert returned == 0, said
    assert await Job.all().count() == 2


async def test_curl_says_what_the_hook_asks_of_the_payload(opened_sqlite, api, hook, tmp_path):
    await api.put("/api/hooks/1", {"when": {"ref": "a*"}})
    commands = script("curl and openssl")
    returned, said = await shell(commands.replace("'{}'", """'{"ref": "main"}'"""), tmp_path, hook)
    assert (returned, await Job.all().count()) == (0, 0), said
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(end_the_next(opened_sqlite, JobStatus.FAILED))
        returned, said = await shell(commands.replace("'{}'", """'{"ref": "a&payload={}"}'"""), tmp_path, hook)
    assert returned == 1, said


async def test_curl_does_not_wait_for_a_second_person(api, hook, tmp_path):
    await api.put("/api/settings", {"two_person": ["backup"]})
    returned, said = await shell(script("curl and openssl"), tmp_path, hook)
    assert (returned, '"confirmation_id":1' in said) == (1, True)


async def trigger(hook, directory, *arguments):
    secret_file = directory / "secret"
    secret_file.write_text(STANDARD_SECRET)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", ROOT / "cli/ci_trigger.py", hook, "--secret-file", secret_file, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def test_one_delivery_is_one_job_however_often_it_is_triggered(hook, tmp_path):
    for _ in range(2):
        returned, said, _ = await trigger(hook, tmp_path, "--id", "build-7")
        assert (returned, "job #1 is pending" in said) == (0, True)
    assert await Job.all().count() == 1


async def test_refusal_is_one_line_and_exit_status_one(hook, tmp_path):
    returned, _, complained = await trigger(hook + "x", tmp_path)
    assert (returned, complained) == (1, "locutus: refused with 404: There is no hook deployx.\n")


def test_what_is_not_answered_is_tried_again_and_given_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ci_trigger, "PAUSE_S", 0.0)
    (tmp_path / "secret").write_text(STANDARD_SECRET)
    url = f"http://127.0.0.1:{free_port()}/hooks/deploy"
    assert ci_trigger.main([url, "--secret-file", str(tmp_path / "secret")]) == 3
    assert capsys.readouterr().err.count("no answer") == ci_trigger.TRIES + 1


ENDED = b'{"id": 7, "status": "completed", "completed_at": "2026-01-01T00:00:00Z", "error_message": null}'


async def looked_for(answers, monkeypatch):
    """The job that these answers, one a try, tell of, and the pauses before each other try (not waited for), in s."""
    pauses, each = [], iter(answers)
    monkeypatch.setattr(ci_trigger, "time", SimpleNamespace(time=time.time, sleep=pauses.append))

    async def answering(to):
        await to.write(next(each))

    async with RawEndpoint(answering) as endpoint:
        return await asyncio.to_thread(ci_trigger.ended, ci_trigger.Hook(endpoint.url, b"key"), 7), pauses


async def test_answer_that_breaks_off_or_is_another_programs_is_asked_for_again(monkeypatch):
    answers = [
        OK + b"Content-Length: 200\r\n\r\n" + ENDED[:20],
        b"garbage\r\n\r\n",
        b'HTTP/1.1 503 Away\r\nContent-Length: 200\r\n\r\n{"det',
        OK + b"Content-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 429 Too many\r\nRetry-After: 41\r\n\r\n",
        OK + b"\r\n" + ENDED,
    ]
    job, pauses = await looked_for(answers, monkeypatch)
    assert (job["status"], pauses) == ("completed", [2, 4, 6, 8, 41])


async def test_pause_that_no_pipeline_waits_for_ends_the_tries(monkeypatch):
    with pytest.raises(ci_trigger.TriggerError, match="at try 1: refused with 429") as ended:
        await looked_for([b"HTTP/1.1 429 Too many\r\nRetry-After: 3600\r\n\r\n"], monkeypatch)
    assert ended.value.status == ci_trigger.UNREACHABLE


@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        ("https://x.example.org/elsewhere", STANDARD_SECRET, "is no hook's address"),
        ("ftp://x.example.org/hooks/deploy", STANDARD_SECRET, "is no hook's address"),
        ("https://x.example.org/hooks/deploy", "no secret", "can't be read as a secret"),
    ],
)
def test_wrong_call_is_said_with_exit_status_two(tmp_path, url, secret, said):
    (tmp_path / "secret").write_text(secret)
    ended = CliRunner().invoke(app, ["trigger", url, "--secret-file", str(tmp_path / "secret")])
    assert (ended.exit_code, said in ended.stderr) == (2, True)


def test_one_file_needs_nothing_but_python():
    imported = re.findall(r"^(?:from|import) (\w+)", (ROOT / "cli/ci_trigger.py").read_text(), re.MULTILINE)
    assert set(imported) <= sys.stdlib_module_names
