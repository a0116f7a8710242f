"""Restoring from real archives: what comes back, what is refused, what a cancelled or interrupted restore tells."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from jobs.borg.environment import environment
from jobs.models import Archive, ConsoleMessage, Setting
from tests.fakes.instance import instance, settings_for, until

ODD_NAMES = (b"sp ace", b"new\nline", b"-lead", b"[x]*", b"re:a.*", b"tab\tx", "\u202egpj.é".encode(), b"\xff\xfe")
HELD_EXTRACT = """#!/bin/sh
case "$1" in
extract) borg "$@"; ended=$?; until [ -e {on} ]; do sleep 0.05; done; exit $ended;;
esac
exec borg "$@"
"""
SLOW_LIST = """#!/bin/sh
case "$1" in
list) touch {listing}; exec sleep 600;;
esac
exec borg "$@"
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def sources(tmp_path):
    """A tree with every kind of file, and a name of every kind."""
    top = tmp_path / "sources"
    (top / "directory" / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD_NAMES):
        path = os.path.join(os.fsencode(top), name)  # noqa: PTH118 - a name of bytes
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(name * number)
        os.chmod(path, 0o400 + number)  # noqa: PTH101
        os.utime(path, ns=(0, 10**18 + number))
    (top / "directory" / "hard").hardlink_to(top / "-lead")
    (top / "link").symlink_to("no\nwhere")
    os.mkfifo(top / "directory" / "pipe", 0o640)
    (top / "directory" / "empty").chmod(0o1777)
    os.utime(top / "directory", ns=(0, 123456789))
    return top


@pytest.fixture
def settings(tmp_path, sqlite_url, redis_url):
    return settings_for(tmp_path, sqlite_url, redis_url)


def tree(directory):
    """Everything that can be told of what is below a directory, by its name in bytes."""
    found, inodes = {}, {}
    for parent, directories, files in os.walk(os.fsencode(directory)):
        for name in (*directories, *files):
            path = os.path.join(parent, name)  # noqa: PTH118
            status = os.lstat(path)
            content = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)  # noqa: PTH115
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            first = inodes.setdefault(status.st_ino, path[len(os.fsencode(directory)) :])
            told = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, first, content)
            found[path[len(os.fsencode(directory)) :]] = told
    return found


def borg(*arguments):
    given = environment(os.environ, base_dir=None, passphrase_given=False)
    subprocess.run(["borg", *arguments], env=given, check=True, capture_output=True)


async def backed_up(running, tmp_path, sources):
    await running.add_repository("photos", tmp_path / "repo", [sources])
    _, answer = await running.call("POST", "/api/backup/run", json={"repository": "photos"})
    assert (await running.ended(answer["job_id"])).status == "completed"
    return await Archive.get()


async def asked(running, archive, destination, **said):
    body = {"repository": "photos", "destination": str(destination), **said}
    status, answer = await running.call("POST", f"/api/archives/{archive}/restore", json=body)
    assert status == 202, answer
    return answer["job_id"]


async def restored(running, archive, destination, **said):
    return await running.ended(await asked(running, archive, destination, **said))


async def log_of(running, job_id):
    async with running.http.get(f"/api/jobs/{job_id}/logs") as answer:
        return (await answer.text()).splitlines()


def inside(destination, sources):
    return Path(f"{destination}{sources}")


async def test_tree_comes_back_as_it_was_and_odd_names_break_nothing(settings, tmp_path, sources):
    async with instance(settings) as running:
        archive = await backed_up(running, tmp_path, sources)
        out = tmp_path / "made for it" / "out"
        job = await restored(running, archive.borg_id, out)
        assert (job.status, job.error_message, job.warnings) == ("completed", None, 0)
        assert tree(inside(out, sources)) == tree(sources)
        assert job.archive_name == archive.name
        status, shown = await running.call("GET", f"/api/restore/jobs/{job.id}")
        progress = shown["progress"]
        assert (status, progress["nfiles"], progress["total_files"]) == (200, archive.nfiles, archive.nfiles)
        assert (progress["progress_percent"], progress["percent_is_estimate"]) == (100, False)
        log = await log_of(running, job.id)
        assert any("new ↵ line" in line for line in log)
        assert log[-1].startswith("Locutus: exited, exit status 0")
        assert await ConsoleMessage.filter(job_id=job.id).count() == 2

        names = [os.fsdecode(os.path.join(os.fsencode(sources), name)) for name in ODD_NAMES[:-1]]  # noqa: PTH118
        some = await restored(running, archive.name, tmp_path / "some", paths=[*names[:-1], names[-1].lstrip("/")])
        assert (some.status, some.progress["nfiles"]) == ("completed", len(names) - 1)  # one is a hard link
        assert set(tree(inside(tmp_path / "some", sources))) == {b"/" + name for name in ODD_NAMES[:-1]}

        missing = await restored(running, archive.name, tmp_path / "none", paths=["no/such"])
        assert (missing.status, missing.error_code) == ("failed", "path_not_in_archive")


async def test_nothing_is_overwritten_unless_that_was_asked_for(settings, tmp_path, sources):
    async with instance(settings) as running:
        archive = await backed_up(running, tmp_path, sources)
        out = tmp_path / "out"
        rehearsed = await restored(running, archive.name, out, dry_run=True)
        assert (rehearsed.status, rehearsed.progress["nfiles"]) == ("completed", archive.nfiles)
        assert rehearsed.progress["progress_message"] == "a dry run: nothing was written"
        assert not out.exists()

        inside(out, sources).mkdir(parents=True)
        changed, other = inside(out, sources) / "-lead", out / "other"
        changed.write_text("changed since")
        other.write_text("another")
        refused = await restored(running, archive.name, out)
        assert (refused.status, refused.error_code) == ("failed", "destination_refused")
        assert refused.error_message == (
            f"{out} is not empty, and without `overwrite` nothing is restored over what is there. "
            "Choose another destination, or ask again with `overwrite`."
        )
        assert (changed.read_text(), refused.running_lock) == ("changed since", None)
        assert (await log_of(running, refused.id))[-1].endswith(refused.error_message)

        job = await restored(running, archive.name, out, overwrite=True)
        assert job.status == "completed", job.error_message
        assert tree(inside(out, sources)) == tree(sources)
        assert other.read_text() == "another"


async def test_restore_that_cannot_be_is_refused_at_once_with_the_field(settings, tmp_path, sources):
    async with instance(settings) as running:
        archive = await backed_up(running, tmp_path, sources)
        path = f"/api/archives/{archive.name}/restore"
        for said, field in (
            ({"destination": "out"}, "destination"),
            ({"destination": f"{tmp_path}/x/../repo/data"}, "destination"),
            ({"paths": [""]}, "paths"),
            ({"paths": ["x"] * 1001}, "paths"),
            ({"overwrite": "perhaps"}, "overwrite"),
            ({"repository": None}, "repository"),
        ):
            body = {"repository": "photos", "destination": "/out", **said}
            status, problem = await running.call("POST", path, json=body)
            assert (status, problem["field"].partition(".")[0]) == (422, field), problem
        body = {"repository": "photos", "destination": "/out"}
        status, problem = await running.call("POST", "/api/archives/nope/restore", json=body)
        assert (status, "--refresh" in problem["detail"]) == (404, True)

        borg("delete", f"{tmp_path / 'repo'}::{archive.name}")
        gone = await restored(running, archive.name, tmp_path / "out")
        assert (gone.status, gone.error_code) == ("failed", "archive_missing")
        assert not (tmp_path / "out").exists()


async def test_operators_restore_below_the_roots_and_by_no_link_beyond_them(settings, tmp_path, sources):
    root, beyond = tmp_path / "root", tmp_path / "beyond"
    for directory in (root / "kept", beyond):
        directory.mkdir(parents=True)
    (root / "way").symlink_to(beyond)
    (root / "kept" / "way").symlink_to(beyond)
    async with instance(settings) as running:
        archive = await backed_up(running, tmp_path, sources)
        await Setting.create(name="restore_roots", value=[str(root)])
        _, token = await running.call("POST", "/api/tokens", json={"name": "ops", "role": "operate"})
        running.http.headers["Authorization"] = f"Bearer {token['token']}"
        body = {"repository": "photos", "destination": str(beyond)}
        status, problem = await running.call("POST", f"/api/archives/{archive.name}/restore", json=body)
        assert (status, "the role administer" in problem["detail"]) == (403, True)
        for destination, said in ((root / "way" / "x", {}), (root / "kept", {"overwrite": True})):
            job = await restored(running, archive.name, destination, **said)
            assert (job.status, job.error_code) == ("failed", "destination_refused")
            assert f"leads out of the restore root {root}" in job.error_message
        assert list(beyond.iterdir()) == []
        assert (await restored(running, archive.name, root / "new")).status == "completed"


@pytest.fixture
def held(settings, tmp_path):
    """Settings whose borg has restored everything and does not end until `on` is there."""
    program = tmp_path / "held-borg"
    program.write_text(HELD_EXTRACT.format(on=tmp_path / "on"))
    program.chmod(0o700)
    return settings.model_copy(update={"borg": str(program)})


def has_named_all(archive):
    """Of what borg named last it is not known whether it is written."""
    return lambda job: (job.progress.get("nfiles") or 0) >= archive.nfiles - 1


async def test_cancelled_restore_says_what_it_left(held, tmp_path, sources):
    async with instance(held) as running:
        archive = await backed_up(running, tmp_path, sources)
        job_id = await asked(running, archive.name, tmp_path / "out")
        job = await running.until(job_id, has_named_all(archive))
        assert 0 < job.progress["progress_percent"] < 100
        await running.call("POST", f"/api/jobs/{job_id}/cancel")
        job = await running.ended(job_id)
    assert job.status == "cancelled"
    count = f"{job.progress['nfiles']} of {archive.nfiles} files"
    assert job.progress["progress_message"].startswith(
        f"{count} had been restored to {tmp_path / 'out'} by then; what is there stays there."
    )
    assert tree(inside(tmp_path / "out", sources)) == tree(sources)


async def test_restore_outlives_its_worker_and_counts_right_to_the_end(held, tmp_path, sources):
    async with instance(held) as running:
        archive = await backed_up(running, tmp_path, sources)
        job_id = await asked(running, archive.name, tmp_path / "out")
        await running.until(job_id, has_named_all(archive))
    async with instance(held) as running:
        (tmp_path / "on").touch()
        job = await running.ended(job_id)
        log = await log_of(running, job_id)
    assert (job.status, job.attempt) == ("completed", 1)
    assert (job.progress["nfiles"], job.progress["total_files"]) == (archive.nfiles, archive.nfiles)
    assert sum(line.endswith("re:a.*") for line in log) == 1


async def test_cancel_while_the_archive_is_listed_starts_nothing(settings, tmp_path, sources):
    program = tmp_path / "slow-list"
    program.write_text(SLOW_LIST.format(listing=tmp_path / "listing"))
    program.chmod(0o700)
    async with instance(settings.model_copy(update={"borg": str(program)})) as running:
        archive = await backed_up(running, tmp_path, sources)
        job_id = await asked(running, archive.name, tmp_path / "out")
        await until((tmp_path / "listing").exists)
        await running.call("POST", f"/api/jobs/{job_id}/cancel")
        job = await running.ended(job_id)
    assert (job.status, (tmp_path / "out").exists()) == ("cancelled", False)
