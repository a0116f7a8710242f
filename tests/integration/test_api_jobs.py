"""Jobs over HTTP: started once, found at their own kind, waited for, listed a page at a time."""

import asyncio
from datetime import timedelta

import pytest

from jobs import lifecycle
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.models import AuditEntry, Job
from jobs.view import JobStatus
from tests.fakes.gateway import HOST, application, started

CLAIMANT = Claimant(HOST, "d1", 4)


@pytest.fixture
async def api(opened, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened, tmp_path, public_url="https://backup.example/"))
    assert (await api.repository("photos")).status == 201
    return api


@pytest.fixture
async def quick(opened_sqlite, aiohttp_client, tmp_path):
    """Where the engine does not matter."""
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    assert (await api.repository("photos")).status == 201
    return api


async def run(api, **fields):
    headers = fields.pop("headers", {})
    return await api.post("/api/backup/run", {"repository": "photos"} | fields, headers=headers)


async def end(job_id, status=JobStatus.COMPLETED):
    await claim_next(CLAIMANT)
    await unit(lambda: lifecycle.end(job_id, 1, Ending(status)))


async def test_start_answers_where_to_look(api):
    reply = await run(api, priority="high", channel="slack:T1:C1")
    job = await Job.get(id=reply.json["job_id"])
    url = f"https://backup.example/api/jobs/{job.id}"
    assert reply.status == 202
    assert reply.headers["Location"] == url
    assert reply.json == {
        "job_id": job.id, "status": "pending", "status_url": url, "wait_url": f"{url}?wait=60"
    }  # fmt: skip
    assert (job.kind, job.priority, job.requested_by, job.origin) == ("backup", 1, "token:admin", "api")
    assert await AuditEntry.filter(action="backup.run", subject="token:admin").count() == 1


async def test_repository_may_be_named_by_its_id(api):
    repository = (await api.get("/api/repositories/photos")).json
    assert (await run(api, repository=str(repository["id"]))).status == 202
    assert (await run(api, repository=repository["id"])).status == 202


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "repository"),
        ({"repository": "nope"}, 404, None),
        ({"repository": "99999999999"}, 422, "repository"),
        ({"repository": "photos", "priority": "now"}, 422, "priority"),
        ({"repository": "photos", "template": "weekly"}, 422, "template"),
        *[
            ({"repository": "photos", "channel": channel}, 422, "channel")
            for channel in ("#general", "", "slack:T1", "slack:t1:c1", "slack:T1:C1\n", "discord:G:C", "irc:1:2", 7)
        ],
        ({"repository": "photos", "rsh": "sh -c"}, 422, "rsh"),
    ],
)
async def test_refused_start_writes_nothing(quick, body, status, field):
    reply = await quick.post("/api/backup/run", body)
    assert (reply.status, reply.json.get("field")) == (status, field)
    assert await Job.all().count() == 0


async def test_same_idempotency_key_finds_the_first_job(api):
    replies = await asyncio.gather(*(run(api, headers={"Idempotency-Key": "k1"}) for _ in range(8)))
    assert {reply.status for reply in replies} == {202}
    assert len({reply.json["job_id"] for reply in replies}) == 1
    assert await Job.all().count() == 1
    assert (await run(api, headers={"Idempotency-Key": "k2"})).json["job_id"] != replies[0].json["job_id"]


async def test_idempotency_key_of_another_body_is_refused(api):
    await api.repository("mail")
    headers = {"Idempotency-Key": "k1"}
    first = await run(api, headers=headers)
    refused = await run(api, repository="mail", headers=headers)
    assert (refused.status, refused.json["field"]) == (422, "Idempotency-Key")
    assert f"#{first.json['job_id']}" in refused.json["detail"]
    assert await Job.all().count() == 1


async def test_another_tokens_key_is_another_request(api):
    operator = await api.token("ci", "operate")
    first = await run(api, headers={"Idempotency-Key": "k1"})
    assert (await run(operator, headers={"Idempotency-Key": "k1"})).json["job_id"] != first.json["job_id"]


@pytest.mark.parametrize("key", ["", " ", "k" * 151, "schlüssel"])
async def test_unusable_idempotency_key_is_refused(quick, key):
    assert (await run(quick, headers={"Idempotency-Key": key})).json["field"] == "Idempotency-Key"


async def test_job_stands_at_its_own_kind_only(api):
    job_id = (await run(api)).json["job_id"]
    init = (await api.repository("new", init=True)).json["init_job_id"]
    job = (await api.get(f"/api/backup/jobs/{job_id}")).json
    assert job == (await api.get(f"/api/jobs/{job_id}")).json
    assert job["progress"]["progress_percent"] is None
    assert job["logs_url"] == f"https://backup.example/api/jobs/{job_id}/logs"
    assert (await api.get(f"/api/backup/jobs/{init}")).status == 404
    assert (await api.get(f"/api/backup/logs/{init}")).status == 404
    assert (await api.get(f"/api/jobs/{init}")).json["kind"] == "repository_init"


async def test_wait_is_answered_as_soon_as_the_job_has_ended(api, opened):
    job_id = (await run(api)).json["job_id"]
    waiting = asyncio.create_task(api.get(f"/api/jobs/{job_id}?wait=60"))
    async with asyncio.timeout(10):
        while not opened._ears:
            await asyncio.sleep(0.01)
        await end(job_id)
        reply = await waiting
    assert reply.json["status"] == "completed"
    assert not opened._ears


async def test_wait_ends_with_the_state_of_then(api, opened):
    job_id = (await run(api)).json["job_id"]
    assert (await api.get(f"/api/backup/jobs/{job_id}?wait=0.05")).json["status"] == "pending"
    assert not opened._ears


@pytest.mark.parametrize("wait", ["-1", "61", "soon", "nan"])
async def test_unusable_wait_is_refused(quick, wait):
    job_id = (await run(quick)).json["job_id"]
    assert (await quick.get(f"/api/jobs/{job_id}?wait={wait}")).json["field"] == "wait"


async def test_list_goes_newest_first_from_page_to_page(api):
    ids = [(await run(api)).json["job_id"] for _ in range(5)]
    seen, query = [], "limit=2"
    while query:
        reply = (await api.get(f"/api/jobs?{query}")).json
        seen += [job["id"] for job in reply["items"]]
        query = f"limit=2&cursor={reply['next_cursor']}" if reply["next_cursor"] else None
    assert seen == ids[::-1]


async def test_list_is_filtered_by_each_field(api):
    await api.repository("mail", host="other")
    first = (await run(api)).json["job_id"]
    second = (await run(api, repository="mail")).json["job_id"]
    await end(first)
    await Job.filter(id=second).update(
        scheduled_job_id=3, parent_id=first, kind="check", created_at=now() - timedelta(days=2)
    )
    yesterday = (now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    mail_id = (await api.get("/api/repositories/mail")).json["id"]
    wanted = {
        "kind=check": [second], "kind=backup": [first], "status=completed": [first], "status=pending": [second],
        "repository=mail": [second], f"repository={mail_id}": [second], "host=other": [second], "host=x": [],
        "scheduled_job_id=3": [second], f"parent_id={first}": [second], f"since={yesterday}": [first],
        f"until={yesterday}": [second], "kind=check&status=completed": [],
    }  # fmt: skip
    found = {query: [job["id"] for job in (await api.get(f"/api/jobs?{query}")).json["items"]] for query in wanted}
    assert found == wanted


async def test_pending_job_is_cancelled_at_once_and_a_running_one_is_asked(api):
    pending = (await run(api)).json["job_id"]
    reply = await api.post(f"/api/jobs/{pending}/cancel")
    assert (reply.status, reply.json["status"]) == (200, "cancelled")
    running = (await run(api)).json["job_id"]
    await claim_next(CLAIMANT)
    reply = await api.post(f"/api/jobs/{running}/cancel")
    assert (reply.status, reply.json["status"]) == (202, "running")
    assert (await api.post("/api/jobs/99/cancel")).status == 404


async def test_retry_makes_a_new_job_once_the_first_has_ended(api):
    job_id = (await run(api)).json["job_id"]
    assert (await api.post(f"/api/jobs/{job_id}/retry")).status == 409
    await end(job_id, JobStatus.FAILED)
    reply = await api.post(f"/api/jobs/{job_id}/retry")
    assert reply.status == 202
    assert (await api.get(f"/api/jobs/{reply.json['job_id']}")).json["retry_of"] == job_id
