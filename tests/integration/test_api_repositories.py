"""Repositories over HTTP: made, shown, changed, removed; what is secret goes in and never comes out."""

import asyncio

import pytest

from jobs import lifecycle
from jobs.access import Role, everywhere
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import ConflictError
from jobs.lifecycle import Ending
from jobs.models import Archive, AuditEntry, Host, Job, Repository, RoleBinding, Subscription
from jobs.view import JobStatus
from tests.fakes.gateway import HOST, application, host_key, started

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
async def api(opened, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened, tmp_path))


@pytest.fixture
async def quick(opened_sqlite, aiohttp_client, tmp_path):
    """Where the engine does not matter."""
    return await started(aiohttp_client, application(opened_sqlite, tmp_path))


@pytest.fixture
async def key(opened, tmp_path):
    key = host_key(tmp_path)
    await Host.create(name=HOST, public_key=key.public, data_directory_id=key.id, last_seen_at=now())
    return key


async def test_added_repository_is_answered_whole_with_its_defaults(api):
    reply = await api.repository()
    assert reply.status == 201
    assert reply.headers["Location"].endswith(f"/api/repositories/{reply.json['id']}")
    assert reply.json.pop("created_at").endswith("Z")
    assert reply.json == {
        "id": reply.json["id"], "name": "photos", "location": "/srv/photos", "source_directories": ["/home"],
        "exclude_patterns": [], "compression": "lz4", "encryption": "none", "host": HOST, "channel": None,
        "passphrase_from": None, "passphrase_file": None, "archive_glob": "photos-*",
        "archive_name_template": "{repository}-{utcnow:%Y-%m-%dT%H:%M:%S}", "last_backup": None, "last_check": None,
        "last_compact": None, "last_prune": None, "archives": 0, "size": None, "init_job_id": None,
        "key_exported_at": None, "key_export_due": False,
        "ssh_key": None, "ssh_public_key": None, "host_key": None, "remote_path": None, "upload_ratelimit": None,
        "check_interval_days": None, "check_max_duration": None, "expected_every": None, "overdue_since": None,
        "overdue_snoozed_until": None, "overdue_acknowledged_by": None,
    }  # fmt: skip


async def test_repository_is_found_by_id_and_by_name(api):
    made = (await api.repository()).json
    assert (await api.get("/api/repositories/photos")).json == (await api.get(f"/api/repositories/{made['id']}")).json
    for unknown in ("nope", "999", "99999999999"):
        assert (await api.get(f"/api/repositories/{unknown}")).status == 404


async def test_name_is_given_once(api):
    await api.repository()
    assert (await api.repository()).status == 409
    await api.repository("mail")
    assert (await api.put("/api/repositories/mail", {"name": "photos"})).status == 409


async def test_init_is_a_job_in_the_repositorys_lane_that_later_jobs_stand_behind(api):
    reply = await api.repository(init=True)
    backup = (await api.post("/api/backup/run", {"repository": "photos"})).json["job_id"]
    init = await Job.get(id=reply.json["init_job_id"])
    assert (init.kind, init.lane) == ("repository_init", (await Repository.get(name="photos")).lane)
    claimed = await claim_next(Claimant(HOST, "d1", 4))
    assert claimed.id == init.id
    assert await claim_next(Claimant(HOST, "d1", 4)) is None
    assert backup > init.id


async def test_repository_whose_init_job_is_refused_is_not_added(api, monkeypatch):
    async def refuse(new):
        raise ConflictError("no job today")

    with monkeypatch.context() as patched:
        patched.setattr("jobs.submit.lifecycle.create", refuse)
        assert (await api.repository(init=True)).status == 409
    assert (await Repository.all().count(), await AuditEntry.all().count()) == (0, 0)
    assert (await api.repository(init=True)).status == 201


async def bound(subject, repositories):
    return (await RoleBinding.create(subject=subject, role="operate", repositories=repositories)).id


async def subscribed(repositories):
    return (await Subscription.create(url="https://x/", secret="s", repositories=repositories)).id


async def named():
    bindings = await RoleBinding.all().order_by("id").values_list("id", "repositories")
    subscriptions = await Subscription.all().order_by("id").values_list("id", "repositories")
    return dict(bindings), dict(subscriptions)


async def test_removal_takes_the_name_out_of_grants_and_subscriptions(api):
    for name in ("photos", "mail"):
        await api.repository(name)
    alone, shared = await bound("token:a", ["photos"]), await bound("token:a", ["mail", "photos"])
    everywhere_, other = await bound("token:b", None), await bound("token:c", ["mail"])
    deaf, hearing, all_ears = [await subscribed(names) for names in (["photos"], ["photos", "mail"], None)]
    assert (await api.delete("/api/repositories/photos")).status == 204
    assert await named() == (
        {shared: ["mail"], everywhere_: None, other: ["mail"]},
        {deaf: [], hearing: ["mail"], all_ears: None},
    )
    assert (await AuditEntry.get(action="repository.remove")).detail["role_bindings"] == [alone, shared]


async def test_grant_on_a_removed_repository_is_none_on_a_later_one_of_its_name(api):
    operator = await api.token("ci", "view")
    await api.repository("photos")
    await api.post("/api/role-bindings", {"subject": "token:ci", "role": "operate", "repositories": ["photos"]})
    await api.delete("/api/repositories/photos")
    await api.repository("photos", location="/srv/secret")
    assert (await operator.post("/api/backup/run", {"repository": "photos"})).status == 403


async def test_grants_and_subscriptions_follow_a_renamed_repository(api):
    await api.repository("photos")
    binding, subscription = await bound("token:a", ["photos", "mail"]), await subscribed(["photos"])
    assert (await api.put("/api/repositories/photos", {"name": "pictures"})).status == 200
    assert await named() == ({binding: ["pictures", "mail"]}, {subscription: ["pictures"]})
    entry = await AuditEntry.get(action="repository.change")
    assert entry.detail == {"fields": ["name"], "role_bindings": [binding]}


async def test_grant_and_removal_at_once_leave_no_grant_behind(api):
    for number in range(5):
        await api.repository(f"r{number}")
    body = {"subject": "token:a", "role": "view"}
    calls = [
        call
        for number in range(5)
        for call in (
            api.post("/api/role-bindings", body | {"repositories": [f"r{number}"]}),
            api.delete(f"/api/repositories/r{number}"),
        )
    ]
    assert {reply.status for reply in await asyncio.gather(*calls)} <= {201, 204, 422}
    assert await named() == ({}, {})


async def test_passphrase_is_sealed_to_its_host_and_never_answered(api, key):
    made = await api.repository(encryption="repokey-blake2", passphrase=PASSPHRASE, init=True)
    assert made.status == 201
    assert made.json["passphrase_from"] == "passphrase"
    changed = await api.put("/api/repositories/photos", {"passphrase": PASSPHRASE + "!"})
    listed = await api.get("/api/repositories")
    job = await api.get(f"/api/jobs/{made.json['init_job_id']}")
    row = await Repository.get(name="photos")
    assert key.unseal(row.passphrase).decode() == PASSPHRASE + "!"
    audited = str([(entry.detail, entry.target) for entry in await AuditEntry.all()])
    for text in (made.text, changed.text, listed.text, job.text, audited):
        assert PASSPHRASE not in text
        assert row.passphrase not in text


async def test_passphrase_for_a_host_that_never_reported_is_refused_with_what_to_do(api):
    reply = await api.repository(encryption="repokey", passphrase=PASSPHRASE)
    assert (reply.status, reply.json["field"]) == (422, "passphrase")
    assert f"locutus worker --host {HOST}" in reply.json["detail"]
    assert await Repository.all().count() == 0
    assert (await api.repository(encryption="repokey", passphrase_file="/etc/borg.pass")).status == 201


async def test_other_host_needs_the_passphrase_again(api, key, tmp_path):
    await api.repository(encryption="repokey", passphrase=PASSPHRASE)
    (tmp_path / "b").mkdir()
    other = host_key(tmp_path / "b")
    await Host.create(name="web", public_key=other.public, data_directory_id=other.id)
    reply = await api.put("/api/repositories/photos", {"host": "web"})
    assert (reply.status, reply.json["field"]) == (422, "passphrase")
    reply = await api.put("/api/repositories/photos", {"host": "web", "passphrase": PASSPHRASE})
    assert (reply.status, reply.json["host"]) == (200, "web")
    assert other.unseal((await Repository.get(name="photos")).passphrase).decode() == PASSPHRASE
    reply = await api.put("/api/repositories/photos", {"host": "nowhere", "passphrase_file": "/etc/borg.pass"})
    assert reply.json["passphrase_from"] == "passphrase_file"
    assert (await Repository.get(name="photos")).passphrase is None


async def test_passphrase_command_is_set_on_the_host_only(api, opened, aiohttp_client, tmp_path):
    command = ["pass", "show", "borg"]
    reply = await api.repository(encryption="repokey", passphrase_command=command)
    assert reply.status == 403
    assert "locutus repo add" in reply.json["detail"]
    await api.repository()
    assert (await api.put("/api/repositories/photos", {"passphrase_command": command})).status == 403
    app = application(opened, tmp_path, local=everywhere("local:root", Role.ADMINISTER, local=True))
    local = (await started(aiohttp_client, app)).with_token(None)
    reply = await local.put("/api/repositories/photos", {"passphrase_command": command})
    assert (reply.status, reply.json["passphrase_from"]) == (200, "passphrase_command")
    assert "show" not in reply.text
    assert (await Repository.get(name="photos")).passphrase_command == command


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"encryption": "repokey", "init": True}, "passphrase"),
        ({"encryption": "authenticated", "init": True}, "passphrase"),
        ({"encryption": None, "init": True}, "encryption"),
        ({"encryption": "rot13"}, "encryption"),
        ({"passphrase": "x", "passphrase_file": "/x"}, "passphrase"),
        ({"archive_name_template": "{now}"}, "archive_name_template"),
        ({"location": "-rf"}, "location"),
        ({"source_directories": []}, "source_directories"),
        ({"name": "check-jobs"}, "name"),
        ({"colour": "red"}, "colour"),
        ({"name": None}, "name"),
    ],
)  # fmt: skip
async def test_refused_repository_is_named_by_its_field_and_not_written(quick, fields, field):
    reply = await quick.repository(**fields)
    assert (reply.status, reply.json["field"]) == (422, field)
    assert await Repository.all().count() == 0


async def test_change_touches_the_fields_given_and_ignores_what_is_read_only(api):
    made = (await api.repository(channel="slack:T1:C1")).json
    reply = await api.put("/api/repositories/photos", made | {"compression": "zstd,3", "archives": 7, "id": 99})
    assert reply.status == 200
    assert reply.json == made | {"compression": "zstd,3"}
    reply = await api.put("/api/repositories/photos", {"channel": None, "name": "pictures"})
    assert (reply.json["channel"], reply.json["archive_glob"]) == (None, "pictures-*")
    assert (await api.put("/api/repositories/pictures", {"colour": "red"})).json["field"] == "colour"
    entry = await AuditEntry.filter(action="repository.change").order_by("-id").first()
    assert entry.detail == {"fields": ["channel", "name"]}


async def test_repository_in_use_stays_where_it_is(api):
    await api.repository()
    job_id = (await api.post("/api/backup/run", {"repository": "photos"})).json["job_id"]
    assert (await api.put("/api/repositories/photos", {"location": "/srv/other"})).status == 409
    assert (await api.put("/api/repositories/photos", {"location": "/srv/photos", "compression": "none"})).status == 200
    refused = await api.delete("/api/repositories/photos")
    assert refused.status == 409
    assert f"#{job_id}" in refused.json["detail"]
    await claim_next(Claimant(HOST, "d1", 4))
    assert (await api.delete("/api/repositories/photos")).status == 409
    await unit(lambda: lifecycle.end(job_id, 1, Ending(JobStatus.COMPLETED)))
    assert (await api.delete("/api/repositories/photos")).status == 204
    assert (await api.get("/api/repositories/photos")).status == 404
    assert (await api.get(f"/api/jobs/{job_id}")).json["repository"] == "photos"


async def test_rows_of_one_place_share_a_lane_and_a_changed_place_changes_it(api):
    await api.repository("one", location="/srv/x")
    await api.repository("two", location="/srv/x/")
    one, two = await Repository.all().order_by("id")
    assert one.lane == two.lane
    await api.put("/api/repositories/two", {"location": "/srv/y"})
    assert (await Repository.get(name="two")).lane != one.lane


async def test_list_counts_each_repositorys_archives(api):
    for name, archives in (("one", 2), ("two", 0), ("three", 1)):
        repository_id = (await api.repository(name)).json["id"]
        for number in range(archives):
            await Archive.create(
                repository_id=repository_id, borg_id=f"{number:064x}", name=f"{name}-{number}", started_at=now()
            )
    listed = (await api.get("/api/repositories")).json["items"]
    assert [(row["name"], row["archives"]) for row in listed] == [("three", 1), ("two", 0), ("one", 2)]
    first = (await api.get("/api/repositories?limit=2")).json
    rest = (await api.get(f"/api/repositories?limit=2&cursor={first['next_cursor']}")).json
    assert [row["name"] for row in rest["items"]] == ["one"]
