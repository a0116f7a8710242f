"""What Prometheus scrapes: counted in the database, read back here with the format's own parser."""

from datetime import timedelta

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from jobs.clock import now
from jobs.models import Archive, ChatMessage, Delivery, Host, Job, Repository, Subscription
from tests.fakes.gateway import application, started


@pytest.fixture
async def api(opened, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened, tmp_path))


async def samples(api, **labels):
    """The values by name of all samples with these labels."""
    reply = await api.get("/metrics")
    assert reply.status == 200, reply.text
    return {
        sample.name: sample.value
        for family in parsed(reply.text)
        for sample in family.samples
        if sample.labels == labels
    }


async def fleet():
    """A host that runs a job and has one waiting, a repository with a backup two hours old, a webhook to be sent."""
    await Host.create(name="nas", last_seen_at=now(), max_jobs=3)
    repository = await Repository.get(name="photos")
    await Repository.filter(id=repository.id).update(last_backup=now() - timedelta(hours=2), size=4711)
    await Archive.create(repository=repository, borg_id="a" * 64, name="photos-1", started_at=now())
    common = {"kind": "backup", "host": "nas", "requested_by": "token:admin", "origin": "api"}
    running = await Job.create(status="running", **common)
    waiting = await Job.create(status="pending", **common)
    await Job.filter(id=waiting.id).update(created_at=now() - timedelta(minutes=10))
    await ChatMessage.create(job=running, part="card", platform="slack", channel="slack:T1:C1")
    subscription = await Subscription.create(url="https://ci.example.org", secret="sealed")
    await Delivery.create(subscription=subscription, webhook_id="msg_1", event="job.failed", payload="{}", due_at=now())


async def test_metrics_count_what_the_database_holds(api):
    await api.repository("photos")
    await api.repository("never-backed-up")
    await fleet()
    assert (await samples(api, kind="backup", status="running"))["locutus_jobs"] == 1
    assert (await samples(api, kind="backup", status="failed"))["locutus_jobs"] == 0
    nas = await samples(api, host="nas")
    assert (nas["locutus_running_jobs"], nas["locutus_job_slots"]) == (1, 3)
    assert 600 <= nas["locutus_queue_wait_seconds"] < 700
    assert nas["locutus_host_last_seen_age_seconds"] < 60
    photos = await samples(api, repository="photos")
    assert 7200 <= photos["locutus_last_backup_age_seconds"] < 7300
    assert (photos["locutus_repository_archives"], photos["locutus_repository_size_bytes"]) == (1, 4711)
    assert (await samples(api, state="waiting"))["locutus_deliveries"] == 1
    assert (await samples(api, platform="slack"))["locutus_open_chat_messages"] == 1


async def test_what_is_not_known_has_no_sample(api):
    await api.repository("photos")
    assert await samples(api, repository="photos") == {"locutus_repository_archives": 0}


async def test_scraper_gets_the_format_it_asks_for(api):
    plain = await api.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    asked = await api.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert asked.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {"locutus_jobs", "process_resident_memory_bytes"} <= {family.name for family in openmetrics(asked.text)}
