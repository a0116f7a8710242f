"""Through the running gateway: what differs in one byte from what was signed is refused, and writes nothing."""

import asyncio
import contextlib
import json

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.database.connection import database
from jobs.queue import open_queue
from tests.fakes.gateway import Api, application
from tests.fakes.hook_senders import FORGE_SECRET, SENDERS, STANDARD_SECRET, standard
from tests.fakes.tables import row_counts

STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature", "body")
BODY = json.dumps({"ref": "refs/heads/main", "commits": [{"id": "é" * 3}]}).encode()


def signed_gitlab(payload):
    """As GitLab does with a signing token: https://docs.gitlab.com/user/project/integrations/webhooks/"""
    headers, body = standard(payload)
    return {"X-Gitlab-Event": "Push Hook", **headers}, body


# What of a delivery is covered by its signature: GitHub and Gitea sign no id, and GitLab's token signs nothing.
CASES = {
    "standard": ("standard", STANDARD_SECRET, standard, STANDARD),
    "github": ("github", FORGE_SECRET, SENDERS["github"], ("X-Hub-Signature-256", "body")),
    "gitea": ("gitea", FORGE_SECRET, SENDERS["gitea"], ("X-Gitea-Signature", "body")),
    "gitlab by a token": ("gitlab", FORGE_SECRET, SENDERS["gitlab"], ("X-Gitlab-Token",)),
    "gitlab by a signing token": ("gitlab", STANDARD_SECRET, signed_gitlab, STANDARD),
}


class Gateway:
    """The application on a port, in a loop that runs while it is asked: hypothesis calls from outside of it."""

    def __init__(self, runner, api):
        self._runner, self._api = runner, api

    def run(self, work):
        return self._runner.run(work)

    def post(self, path, body):
        return self.run(self._api.post(path, body))

    def send(self, headers, body):
        """The status of a delivery whose bytes are sent as they are."""
        return self.run(self._send(headers, body))

    def rows(self):
        return self.run(row_counts())

    async def _send(self, headers, body):
        server = self._api.client.server
        reader, writer = await asyncio.open_connection(server.host, server.port)
        lines = [b"POST /hooks/deploy HTTP/1.1", b"Host: x", b"Connection: close", b"Content-Length: %d" % len(body)]
        lines += [name.encode() + b": " + value for name, value in headers.items()]
        writer.write(b"\r\n".join([*lines, b"", body]))
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])


@pytest.fixture
def gateway(database_url, redis_url, tmp_path):
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def start():
            await stack.enter_async_context(database(database_url))
            queue = await stack.enter_async_context(open_queue(redis_url))
            client = TestClient(TestServer(application(queue, tmp_path)))
            return Api(await stack.enter_async_context(client))

        api = runner.run(start())
        runner.run(api.repository("photos"))
        yield Gateway(runner, api)
        runner.run(stack.aclose())


@pytest.mark.parametrize("case", CASES)
def test_every_single_byte_change_is_refused_and_writes_nothing(gateway, case):
    scheme, secret, sender, covered = CASES[case]
    action = {"kind": "backup", "repository": "photos"}
    made = gateway.post("/api/hooks", {"name": "deploy", "scheme": scheme, "secret": secret, "action": action})
    assert made.status == 201
    headers, body = sender(BODY)
    parts = {**{name: value.encode() for name, value in headers.items()}, "body": body}
    before = gateway.rows()

    @settings(max_examples=120)
    @given(st.data())
    def refused(data):
        part = data.draw(st.sampled_from(covered))
        altered = {**parts, part: data.draw(changes(parts[part], is_header=part != "body"))}
        status = gateway.send({name: value for name, value in altered.items() if name != "body"}, altered["body"])
        # A byte that no header may hold is refused before the signature is looked at.
        allowed = part == "body" or all(byte == 9 or 32 <= byte != 127 for byte in altered[part])
        assert status == (401 if allowed else 400)

    refused()
    assert gateway.rows() == before
    assert gateway.send({name: value.encode() for name, value in headers.items()}, body) == 202


@st.composite
def changes(draw, content, *, is_header):
    """The bytes with one other, one more or one less; blanks around a header's value are no change of it."""
    at = draw(st.integers(0, len(content) - 1))
    near = [content[at] ^ 1 << bit for bit in range(8)]  # one flipped bit: another case, another base64 of the same
    not_allowed = {content[at], *(b" \t" if is_header and at == 0 else b"")}
    byte = draw((st.sampled_from(near) | st.integers(0, 255)).filter(lambda byte: byte not in not_allowed))
    how = draw(st.sampled_from(["replaced", "inserted", "removed"]))
    kept = content[at:] if how == "inserted" else content[at + 1 :]
    return content[:at] + (b"" if how == "removed" else bytes([byte])) + kept
