"""The outbox: exactly the deliveries that were wanted, true when the job's row is, gone when it is not."""

import json
from functools import partial

import pytest

from jobs import lifecycle
from jobs.database.unit import unit
from jobs.events import EVENT_NAMES
from jobs.lifecycle import Ending, NewJob
from jobs.models import Delivery, Job, Subscription
from jobs.present import view
from jobs.view import JobStatus, JobView


async def subscription(**fields):
    return await Subscription.create(**{"url": "https://x", "secret": "s", "events": list(EVENT_NAMES), **fields})


async def started(repository_name="photos"):
    new = NewJob(kind="backup", host="a", requested_by="x", origin="cli", repository_name=repository_name)
    job = await unit(partial(lifecycle.create, new))
    return await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="photos-1"))


async def end(job, status):
    ending = Ending(status, warnings=2, error_code="c" if status == JobStatus.FAILED else None)
    return await unit(partial(lifecycle.end, job.id, 1, ending))


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_start_and_end_are_each_delivered_once(opened_sqlite, status):
    await subscription()
    job = await started()
    await end(job, status)
    events = await Delivery.filter(job_id=job.id).order_by("id").values_list("event", flat=True)
    assert events == ["job.started", f"job.{status}"]


async def test_acceptance_alone_is_no_event(opened_sqlite):
    await subscription()
    new = NewJob(kind="backup", host="a", requested_by="x", origin="cli")
    await unit(partial(lifecycle.create, new))
    assert await Delivery.all().count() == 0


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"events": ["job.failed"]}, True),
        ({"events": ["job.completed", "job.started"]}, False),
        ({"events": []}, False),
        ({"events": ["job.failed"], "repositories": ["photos", "music"]}, True),
        ({"events": ["job.failed"], "repositories": ["music"]}, False),
        ({"events": ["job.failed"], "repositories": []}, False),
        ({"events": ["job.failed"], "enabled": False}, False),
    ],
)
async def test_subscription_gets_only_what_it_wants(opened_sqlite, fields, wanted):
    job = await started()
    await subscription(**fields)
    await end(job, JobStatus.FAILED)
    assert await Delivery.all().count() == wanted


async def test_job_without_a_repository_goes_to_those_that_want_all(opened_sqlite):
    limited, every = await subscription(repositories=["photos"]), await subscription()
    await started(repository_name=None)
    assert await Delivery.all().values_list("subscription_id", flat=True) == [every.id]
    assert limited.id != every.id


async def test_payload_is_the_job_as_it_is_seen_then(opened):
    await subscription(events=["job.failed"])
    job = await end(await started(), JobStatus.FAILED)
    delivery = await Delivery.get()
    payload = json.loads(delivery.payload)
    assert payload["type"] == delivery.event == "job.failed"
    assert JobView.model_validate(payload["data"]) == view(await Job.get(id=job.id))
    assert delivery.webhook_id.startswith("msg_")
    assert (delivery.state, delivery.attempts) == ("waiting", 0)


async def test_each_delivery_has_an_id_of_its_own(opened_sqlite):
    for _ in range(3):
        await subscription()
    await started()
    assert len(set(await Delivery.all().values_list("webhook_id", flat=True))) == 3


async def test_end_that_is_rolled_back_leaves_no_delivery(opened):
    await subscription()
    job = await started()

    async def fails_later():
        await lifecycle.end(job.id, 1, Ending(JobStatus.COMPLETED))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        await unit(fails_later)
    assert (await Job.get(id=job.id)).status == "running"
    assert await Delivery.all().values_list("event", flat=True) == ["job.started"]
