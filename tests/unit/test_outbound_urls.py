"""A URL that can't be called is an answer, and no exception."""

import pytest

from jobs.clock import now
from webhooks.outbound import WebhookSender

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "file:///etc/passwd", "nonsense", "", "http://", "http://h:99999/", "http://a..b/x"]
)
async def test_unusable_url_is_an_answer_and_no_exception(url):
    async with WebhookSender(allow_private_targets=False) as sender:
        answer = await sender.send(url, SECRET, "msg_1", now(), b"{}")
    assert (answer.status, bool(answer.error)) == (None, True)
