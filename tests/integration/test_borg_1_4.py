"""The job types on BorgBackup 1.4, whose exit statuses are its own; `make test` builds it where it can."""

from pathlib import Path

import pytest

from tests.fakes.instance import instance, settings_for

BORG = Path(__file__).parents[2] / ".borg-1.4" / "bin" / "borg"
REPOSITORY = "/api/repositories/photos"

pytestmark = pytest.mark.skipif(not BORG.exists(), reason="BorgBackup 1.4 is not built: its build tools can't be had")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def running(tmp_path, sqlite_url, redis_url):
    """An instance with an encrypted repository, and a source that is missing beside one that is there."""
    (tmp_path / "passphrase").write_text("a passphrase of the tests")
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "file").write_text("content")
    async with instance(settings_for(tmp_path, sqlite_url, redis_url, borg=str(BORG))) as running:
        fields = {"encryption": "repokey-blake2", "passphrase_file": str(tmp_path / "passphrase")}
        await running.add_repository("photos", tmp_path / "repo", [sources, tmp_path / "missing"], **fields)
        yield running


async def run(running, method, path, **options):
    status, answer = await running.call(method, path, **options)
    assert status == 202, answer
    return await running.ended(answer["job_id"])


async def completed(running, method, path, **options):
    job = await run(running, method, path, **options)
    assert (job.status, job.progress["progress_percent"]) == ("completed", 100), job.error_message
    return job


async def test_every_type_does_its_work(running, tmp_path):
    for _ in range(2):
        backup = await completed(running, "POST", "/api/backup/run", json={"repository": "photos"})
        assert (backup.error_code, backup.warnings, backup.progress["nfiles"]) == ("source_missing", 1, 1)
    await completed(running, "POST", f"{REPOSITORY}/check", json={})
    await completed(running, "POST", f"{REPOSITORY}/prune", json={"keep_last": 1})
    await completed(running, "POST", f"{REPOSITORY}/compact", json={})
    await completed(running, "GET", f"{REPOSITORY}/archives", params={"refresh": "true"})
    [archive] = (await running.call("GET", f"{REPOSITORY}/archives"))[1]["items"]
    assert archive["name"] == backup.archive_name
    body = {"repository": "photos", "destination": str(tmp_path / "restored")}
    await completed(running, "POST", f"/api/archives/{archive['id']}/restore", json=body)
    restored = tmp_path / "restored" / str(tmp_path / "sources" / "file").lstrip("/")
    assert restored.read_text() == "content"
    (tmp_path / "repo/lock.exclusive").mkdir()
    await completed(running, "POST", f"{REPOSITORY}/unlock", json={})


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda directory: (directory / "passphrase").write_text("a wrong one"), "passphrase_wrong"),
        (lambda directory: (directory / "repo").rename(directory / "gone"), "repository_missing"),
        (lambda directory: next((directory / "repo/data/0").iterdir()).write_bytes(b"damaged"), "integrity_error"),
    ],
    ids=["wrong passphrase", "no repository", "damage"],
)
async def test_what_fails_is_told_by_the_same_code(running, tmp_path, spoil, code):
    spoil(tmp_path)
    job = await run(running, "POST", "/api/backup/run", json={"repository": "photos"})
    assert (job.status, job.error_code) == ("failed", code), job.error_message
