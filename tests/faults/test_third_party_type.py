"""A job type of another package: the file of docs/add-a-job-type.md, found by its entry point, over API and chat."""

import contextlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.fakes.up import Up, eventually

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-job-type.md").read_text()
KIND = "borg_export_tar"
METADATA = "Metadata-Version: 2.1\nName: borg-export-tar\nVersion: 1.0\n"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def package(tmp_path):
    """The page's file and entry point, as pip would have installed them; and one that is broken."""
    directory = tmp_path / "packages"
    described = directory / "borg_export_tar-1.0.dist-info"
    described.mkdir(parents=True)
    (directory / f"{KIND}.py").write_text(blocks("python")[0])
    group, line = re.fullmatch(r'\[project.entry-points."(.*)"\]\n(.*)\n', blocks("toml")[0]).groups()
    entry = line.replace('"', "")
    (described / "METADATA").write_text(METADATA)
    (described / "entry_points.txt").write_text(
        f"[{group}]\n{entry}\nbroken = nowhere:Broken\nagain = {KIND}:ExportParameters\n"
    )
    return directory


@pytest.fixture
async def up(tmp_path, package):
    async with contextlib.AsyncExitStack() as ends:
        up = Up(tmp_path / "data")
        up.variables["PYTHONPATH"] = f"{package}:{ROOT}"
        ends.push_async_callback(up.end)
        await up.start()
        await up.ready()
        yield up


async def test_file_of_the_page_is_a_job_type_over_api_and_chat(up, tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "file").write_text("kept")
    body = {
        "name": "photos", "location": f"{tmp_path}/repo", "source_directories": [f"{tmp_path}/sources"],
        "encryption": "none", "init": True,
    }  # fmt: skip
    assert up.call("/api/repositories", body)
    backup = up.call("/api/backup/run", {"repository": "photos"})
    archive = (await eventually(lambda: completed(up, backup["job_id"])))["archive_name"]

    by_api, by_chat = tmp_path / "by api.tar", tmp_path / "by-chat.tar"
    started = up.call("/api/repositories/photos/export", {"archive": archive, "destination": str(by_api)})
    job = await eventually(lambda: completed(up, started["job_id"]))
    assert (job["kind"], job["progress"]["progress_message"]) == (KIND, f"written to {by_api}")

    asked = up.call("/api/console/commands", {"text": f"/backup export photos {archive} to {by_chat}"})
    assert f"Write {archive} of photos to {by_chat}" in asked["text"]
    number = up.call("/api/confirmations")["items"][0]["id"]
    confirmed = up.call("/api/console/commands", {"text": f"confirm {number}"})
    await eventually(lambda: completed(up, confirmed["job_id"]))
    for tar in (by_api, by_chat):
        with tarfile.open(tar) as exported:
            assert any(name.endswith("sources/file") for name in exported.getnames())

    often = {"kind": KIND, "repository": "photos", "cron_expression": "every minute", "channel": "console"}
    by_schedule = {"archive": archive, "destination": str(tmp_path / "by-schedule.tar")}
    assert up.call("/api/scheduled-jobs", {**often, "parameters": {}}) is None
    schedule = up.call("/api/scheduled-jobs", {**often, "parameters": by_schedule})
    assert schedule["name"] == f"photos-{KIND}"
    job_id = await eventually(lambda: started_by(up, schedule["id"]), 90)
    await eventually(lambda: completed(up, job_id))

    assert up.call("/api/openapi.json")["paths"]["/api/repositories/{repo}/export"]["post"]
    assert "export REPO ARCHIVE to DESTINATION" in up.call("/api/console/commands", {"text": "help"})["text"]


def started_by(up, schedule_id):
    """The first job of the schedule."""
    return next((job["id"] for job in up.call(f"/api/jobs?scheduled_job_id={schedule_id}")["items"][::-1]), None)


def completed(up, job_id):
    job = up.call(f"/api/jobs/{job_id}")
    assert job["status"] not in {"failed", "cancelled"}, job
    return job if job["status"] == "completed" else None


def test_type_that_can_not_be_loaded_is_left_out_and_named_in_the_log(package):
    code = "from jobs.types import JOB_TYPES; print(*sorted(JOB_TYPES))"
    python = [sys.executable, "-c", code]
    said = subprocess.run(python, env={"PYTHONPATH": f"{package}:{ROOT}"}, check=True, capture_output=True, text=True)
    assert {"backup", KIND} <= set(said.stdout.splitlines()[-1].split())
    assert "nowhere:Broken" in said.stdout + said.stderr
    assert "ExportParameters is not a class derived from" in said.stdout + said.stderr
