"""Check, prune and compact on real repositories: what they do, what they leave behind, what they refuse."""

import os
from pathlib import Path

import pytest

from jobs.models import Archive, Repository
from tests.fakes.instance import instance, settings_for


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """borg keeps its cache and its memory of repositories below the worker's HOME."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def running(tmp_path, sqlite_url, redis_url):
    """An instance with the repository `photos`, whose archives are made by `back_up`."""
    sources = tmp_path / "sources"
    sources.mkdir()
    async with instance(settings_for(tmp_path, sqlite_url, redis_url)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources], archive_name_template="{repository}-{job}")
        yield running


async def ran(running, path, **body):
    """The job that was started, once it has ended."""
    status, started = await running.call("POST", path, json=body)
    assert status == 202, started
    await running.ended(started["job_id"])
    _, job = await running.call("GET", f"/api/jobs/{started['job_id']}")
    return job


async def back_up(running, tmp_path, times=1):
    for _ in range(times):
        (tmp_path / "sources" / "noise").write_bytes(os.urandom(1_000_000))
        job = await ran(running, "/api/backup/run", repository="photos")
        assert job["status"] == "completed", job


async def log_of(running, job):
    async with running.http.get(f"/api/jobs/{job['id']}/logs") as answer:
        return await answer.text()


async def named():
    return set(await Archive.all().values_list("name", flat=True))


async def test_prune_then_compact_remove_what_is_not_kept_and_free_its_space(running, tmp_path):
    await back_up(running, tmp_path, times=3)
    before = await named()

    rehearsal = await ran(running, "/api/repositories/photos/prune", keep_last=1, dry_run=True)
    assert rehearsal["status"] == "completed", rehearsal
    assert rehearsal["progress"]["narchives"] == 2
    gone = set(rehearsal["progress"]["archives"])
    assert gone < before
    log = await log_of(running, rehearsal)
    assert [line.split()[2] for line in log.splitlines() if line.startswith("Would prune")] == [
        *rehearsal["progress"]["archives"]
    ]
    assert (await named(), (await Repository.get()).last_prune) == (before, None)

    pruned = await ran(running, "/api/repositories/photos/prune", keep_last=1)
    assert pruned["status"] == "completed", pruned
    assert set(pruned["progress"]["archives"]) == gone
    assert await named() == before - gone
    assert 1_900_000 < pruned["progress"]["freed_size"] < 2_200_000
    assert (pruned["progress"]["progress"], pruned["progress"]["progress_percent"]) == (100, 100)

    compacted = await ran(running, "/api/repositories/photos/compact")
    assert compacted["status"] == "completed", compacted
    assert 1_900_000 < compacted["progress"]["freed_size"] < 2_200_000

    row = await Repository.get()
    assert row.last_prune is not None
    assert row.last_compact is not None
    assert row.size is not None
    assert 900_000 < row.size < 1_200_000
    _, answer = await running.call("GET", "/api/repositories/photos/prune-jobs")
    assert [job["id"] for job in answer["items"]] == [pruned["id"], rehearsal["id"]]
    status, job = await running.call("GET", f"/api/repositories/compact-jobs/{compacted['id']}")
    assert (status, job["kind"]) == (200, "compact")
    assert (await running.call("GET", f"/api/repositories/prune-jobs/{compacted['id']}"))[0] == 404


async def test_check_in_part_or_whole_tells_when_it_was_last_done(running, tmp_path):
    await back_up(running, tmp_path)
    for body in ({"max_duration": 30}, {"verify_data": True}):
        await Repository.all().update(last_check=None)
        job = await ran(running, "/api/repositories/photos/check", **body)
        assert job["status"] == "completed", job
        assert job["progress"]["progress"] == 100
        assert "no damage found" in job["progress"]["progress_message"]
        assert "no problems found" in await log_of(running, job)
        assert (await Repository.get()).last_check is not None


async def test_check_that_finds_damage_fails_with_what_borg_said_and_repairs_nothing(running, tmp_path):
    await back_up(running, tmp_path)
    segment = max((tmp_path / "repo" / "data").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    with segment.open("r+b") as file:
        file.seek(500_000)
        file.write(b"rotten")
    damaged = segment.read_bytes()
    job = await ran(running, "/api/repositories/photos/check")
    assert (job["status"], job["error_code"]) == ("failed", "integrity_error")
    assert "is damaged: Data integrity error" in job["error_message"]
    assert "neither prune nor compact before it is repaired" in job["error_message"]
    assert segment.read_bytes() == damaged
    assert (await Repository.get()).last_check is None


REFUSED = (
    ("check", {"max_duration": 60, "repository_only": False}, "repository_only"),
    ("check", {"max_duration": 60, "verify_data": True}, "verify_data"),
    ("check", {"max_duration": "soon"}, "max_duration"),
    ("check", {"repair": True}, "repair"),
    ("compact", {"threshold": 10}, "threshold"),
    ("prune", {}, "keep_daily"),
    ("prune", {"keep_daily": -1}, "keep_daily"),
    ("prune", {"keep_daily": 7, "archive_name_template": "{nobody}"}, "archive_name_template"),
)


async def test_what_can_not_be_is_refused_by_the_fields_name(running):
    for path, body, field in REFUSED:
        status, problem = await running.call("POST", f"/api/repositories/photos/{path}", json=body)
        assert (status, [error["field"] for error in problem["errors"]]) == (422, [field]), (path, body)


async def test_prune_is_refused_where_it_would_also_remove_the_archives_of_another(running, tmp_path):
    raw = {"name": "photos-raw", "location": f"{tmp_path}/repo/.", "source_directories": ["/etc"], "encryption": "none"}
    status, answer = await running.call("POST", "/api/repositories", json=raw)
    assert status == 201, answer
    status, problem = await running.call("POST", "/api/repositories/photos/prune", json={"keep_last": 1})
    assert status == 422
    assert "photos-* are also those of the repository photos-raw" in problem["detail"]
    for path, body in (("photos-raw", {"keep_last": 1}), ("photos", {"keep_last": 1, "all": True, "dry_run": True})):
        status, started = await running.call("POST", f"/api/repositories/{path}/prune", json=body)
        assert status == 202, started
