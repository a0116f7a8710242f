"""Hooks for what takes a second person: each delivery becomes a question, once, and is counted as any other."""

from datetime import timedelta

import pytest

from jobs.models import Confirmation, HookDelivery, Job, QuestionMessage
from tests.fakes.hook_senders import SENDERS
from tests.integration.test_hooks import api_of_both, hook, noted, send, standard  # noqa: F401 - fixtures


@pytest.fixture
async def api(api_of_both):  # noqa: F811
    await api_of_both.put("/api/settings", {"two_person": ["backup", "noted"]})
    return api_of_both


@pytest.mark.parametrize("scheme", ["standard", "github"])
async def test_delivery_is_asked_once_and_starts_nothing_by_itself(api, scheme):
    await hook(api, scheme, channel="slack:T1:C7")
    signed = SENDERS[scheme]()
    first, again = await send(api, signed), await send(api, signed)
    assert (first.status, again.status, again.json) == (202, 202, first.json)
    assert await Job.all().count() == 0
    assert (await send(api, SENDERS[scheme]())).json["confirmation_id"] != first.json["confirmation_id"]
    channels = QuestionMessage.filter(confirmation_id=first.json["confirmation_id"]).values_list("channel", flat=True)
    assert set(await channels) == {"console", "slack:T1:C7"}
    ben = await api.token("ben", "operate")
    confirmed = await ben.post(f"/api/confirmations/{first.json['confirmation_id']}/confirm")
    job = await Job.get(id=confirmed.json["job_id"])
    assert (job.kind, job.requested_by) == ("backup", "hook:deploy")
    became = await send(api, signed)
    assert (became.status, became.json["job_id"]) == (200, job.id)


async def test_step_of_a_chain_that_takes_two_is_asked_too(api):
    await api.put("/api/settings", {"two_person": ["compact"]})
    await hook(api, action={"parameters": {"compact_after": True}})
    assert (await send(api, standard())).json["confirmation_id"] == 1
    assert await Job.all().count() == 0


async def test_questions_are_limited_by_the_hooks_rate(api):
    await hook(api, rate_limit="2/h")
    signed = standard()
    assert [(await send(api, each)).status for each in (signed, standard(), signed, standard())] == [202, 202, 202, 429]
    assert await Confirmation.all().count() == await HookDelivery.all().count() == 2
    await HookDelivery.all().update(received_at=(await HookDelivery.first()).received_at - timedelta(minutes=61))
    assert (await send(api, standard())).status == 202


async def test_delivery_joins_the_question_that_is_about_the_same(api):
    await hook(api, action={"kind": "noted", "mapping": {"note": "/who"}}, coalesce=True)
    asked = [(await send(api, standard({"who": who}))).json["confirmation_id"] for who in ("a", "b", "a")]
    assert asked == [1, 2, 1]
    await Confirmation.filter(id=1).update(state="dismissed")
    assert (await send(api, standard({"who": "a"}))).json["confirmation_id"] == 3
