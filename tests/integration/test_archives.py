"""The archives that Locutus knows of are those that the repository has: after a backup, and after each list."""

import os
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from jobs import archives
from jobs.borg.archive_list import ListedArchive
from jobs.borg.environment import environment
from jobs.database.unit import unit
from jobs.models import Archive, Repository
from tests.fakes.gateway import application, started
from tests.fakes.instance import instance, repository_row, settings_for
from worker.archive_listing import pages

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PATH = "/api/repositories/photos/archives"


def borg(*arguments):
    given = environment(os.environ, base_dir=None, passphrase_given=False)
    subprocess.run(["borg", *arguments], env=given, check=True, capture_output=True)


async def refreshed(running):
    status, answer = await running.call("GET", PATH, params={"refresh": "true"})
    assert status == 202, answer
    return await running.ended(answer["job_id"])


async def listed(running):
    return (await running.call("GET", PATH))[1]["items"]


async def test_list_shows_what_the_repository_has_and_keeps_what_was_counted(
    tmp_path, monkeypatch, sqlite_url, redis_url
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "file").write_text("a file")
    location = str(tmp_path / "repo")
    async with instance(settings_for(tmp_path, sqlite_url, redis_url)) as running:
        await running.add_repository("photos", tmp_path / "repo", [tmp_path / "file"])
        assert (await Repository.get(name="photos")).borg_id in (tmp_path / "repo" / "config").read_text()
        _, answer = await running.call("POST", "/api/backup/run", json={"repository": "photos"})
        backup = await running.ended(answer["job_id"])
        [own] = await listed(running)
        assert (own["name"], own["nfiles"], own["job_id"]) == (backup.archive_name, 1, backup.id)

        borg("create", f"{location}::by hand é", str(tmp_path / "file"))
        job = await refreshed(running)
        assert (job.status, job.progress["progress_message"]) == ("completed", "2 archives")
        by_hand, kept = await listed(running)
        assert kept == own
        assert (by_hand["name"], by_hand["nfiles"], by_hand["original_size"]) == ("by hand é", None, None)
        assert (await running.call("GET", "/api/repositories/photos"))[1]["archives"] == 2

        borg("delete", f"{location}::{backup.archive_name}")
        await refreshed(running)
        assert await listed(running) == [by_hand]

        (tmp_path / "repo").rename(tmp_path / "elsewhere")
        assert (await refreshed(running)).error_code == "repository_missing"
        assert await listed(running) == [by_hand]


def archive(number):
    return ListedArchive(f"{number:064x}", f"photos-{number}", AT + timedelta(minutes=number))


async def listing(numbers, size):
    found = sorted(numbers)
    for start in range(0, len(found), size):
        yield [archive(number) for number in found[start : start + size]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (range(1200), range(300, 1500)),
        (range(5), []),
        ([], range(1200)),
        (range(0, 900, 2), range(1, 900, 2)),
        (range(1000, 1200), range(3)),
        (range(9), range(9)),
    ],
    ids=["moved on", "emptied", "imported", "all others", "only older", "the same"],
)
async def test_table_becomes_the_list_however_the_two_differ(opened, tmp_path, before, after):
    row = await repository_row("photos", tmp_path, [])
    other = await repository_row("mail", tmp_path, [])
    for repository, numbers in ((other, range(3)), (row, before), (row, after)):
        await unit(lambda r=repository, n=numbers: archives.replace_listing(r.id, listing(n, 500)))
    found = await Archive.filter(repository_id=row.id).order_by("borg_id").values_list("borg_id", flat=True)
    assert list(found) == [f"{number:064x}" for number in after]
    assert await Archive.filter(repository_id=other.id).count() == 3


async def test_broken_list_changes_nothing(opened, tmp_path):
    row = await repository_row("photos", tmp_path, [])
    await unit(lambda: archives.replace_listing(row.id, listing(range(3), 500)))
    (tmp_path / "stdout").write_bytes(b"a" * 64 + b" 2026-01-02T03:04:05 photos-9\0" + b"Traceback")
    with pytest.raises(ValueError, match="middle of a record"):
        await unit(lambda: archives.replace_listing(row.id, pages(tmp_path / "stdout")))
    assert await Archive.all().count() == 3


async def test_archives_come_newest_first_a_page_at_a_time_even_while_some_go(opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    repository = (await api.repository()).json["id"]
    await unit(lambda: archives.replace_listing(repository, listing(range(7), 500)))
    first = (await api.get(f"{PATH}?limit=3")).json
    await Archive.filter(name="photos-4").delete()
    second = (await api.get(f"{PATH}?limit=3&cursor={first['next_cursor']}")).json
    third = (await api.get(f"{PATH}?limit=3&cursor={second['next_cursor']}")).json
    names = [item["name"] for page in (first, second, third) for item in page["items"]]
    assert names == [f"photos-{number}" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert third["next_cursor"] is None
    assert first["items"][0] == {
        "id": f"{6:064x}", "name": "photos-6", "started_at": "2026-01-02T03:10:05Z",
        "original_size": None, "nfiles": None, "job_id": None,
    }  # fmt: skip


async def test_archives_are_for_who_may_see_them_and_a_list_for_who_may_run(opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    await api.repository()
    viewer = await api.token("viewer", "view")
    assert (await viewer.get(PATH)).json == {"items": [], "next_cursor": None}
    assert (await viewer.get(f"{PATH}?refresh=true")).status == 403
    assert (await viewer.get("/api/repositories/nope/archives")).status == 404
    for query in ("cursor=7", "cursor=x-1", "refresh=perhaps", "limit=0"):
        reply = await api.get(f"{PATH}?{query}")
        assert (reply.status, reply.json["field"]) == (422, query.partition("=")[0])
    assert (await api.get(f"{PATH}?cursor={'9' * 18}-1")).status == 200
