"""What a sender signed verifies, and nothing that differs from it in a single byte."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from standardwebhooks.webhooks import Webhook

from webhooks.signatures import delivered
from webhooks.signatures.delivered import Delivered, SignatureError
from webhooks.signatures.schemes import SCHEMES

SAMPLES = Path(__file__).parents[1] / "samples/hooks"
SECRETS = {
    "github": "It's a Secret to Everybody",
    "gitlab": "a gitlab token of the tests",
    "gitea": "a gitea secret of the tests",
    "standard": "whsec_plJ3nmyCDGBKInavdOK15jsl",
}
SIGNED_BY = {"github": "X-Hub-Signature-256", "gitlab": "X-Gitlab-Token", "gitea": "X-Gitea-Signature"}
STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, the worked example
STANDARD = {
    "webhook-id": "msg_loFOjxBNrRLzqYUf",
    "webhook-timestamp": "1731705121",
    "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
}
STANDARD_BODY = b'{"event_type":"ping","data":{"success":true}}'
AT = datetime.fromtimestamp(1731705121, UTC)
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()


def sample(scheme):
    if scheme == "standard":
        return CIMultiDict(STANDARD), STANDARD_BODY
    directory = SAMPLES / scheme
    return CIMultiDict(json.loads((directory / "headers.json").read_text())), (directory / "body").read_bytes()


def verify(scheme, headers, body, *, secrets=None, at=AT):
    return SCHEMES[scheme](secrets or [SECRETS[scheme]], headers, body, at)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("github", Delivered("72d3162e-cc78-11e3-81ab-4c9367dc0958", "push")),
        ("gitlab", Delivered("f5e57ebe-07b2-4f3a-9f1c-2a9ba9a5a7c5", "Push Hook")),
        ("gitea", Delivered("f6266f16-1bf3-46a5-9ea4-602e06ead473", "push")),
        ("standard", Delivered("msg_loFOjxBNrRLzqYUf")),
    ],
)
def test_real_delivery_verifies_by_either_of_two_secrets(scheme, expected):
    headers, body = sample(scheme)
    for secrets in ([SECRETS[scheme]], [OTHER, SECRETS[scheme]], [SECRETS[scheme], OTHER]):
        assert verify(scheme, headers, body, secrets=secrets) == expected
    with pytest.raises(SignatureError):
        verify(scheme, headers, body, secrets=[OTHER])


def test_githubs_own_example_verifies():
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation"""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = CIMultiDict({"X-Hub-Signature-256": signature, "X-GitHub-Delivery": "1", "X-GitHub-Event": "ping"})
    assert verify("github", headers, b"Hello, World!") == Delivered("1", "ping", is_ping=True)


@given(st.data())
def test_every_single_byte_change_is_refused(data):
    scheme = data.draw(st.sampled_from(sorted(SCHEMES)))
    headers, body = sample(scheme)
    signed_headers = list(STANDARD_HEADERS) if scheme == "standard" else [SIGNED_BY[scheme]]
    # GitLab's token signs nothing: it stands beside the body.
    part = data.draw(st.sampled_from([*signed_headers, *(["body"] if scheme != "gitlab" else [])]))
    if part == "body":
        body = changed(data, body)
    else:
        headers[part] = changed(data, headers[part].encode()).decode("utf-8", "surrogateescape")
    with pytest.raises(SignatureError):
        verify(scheme, headers, body)


def changed(data, content):
    """The bytes with one other, one more or one less."""
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (content[at], 10, 13)))
    how = data.draw(st.sampled_from(["replaced", "inserted", "removed"]))
    kept = {"replaced": at + 1, "inserted": at, "removed": at + 1}[how]
    return content[:at] + (b"" if how == "removed" else bytes([byte])) + content[kept:]


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_missing_header_is_refused_by_name(scheme):
    headers, body = sample(scheme)
    for name in STANDARD_HEADERS if scheme == "standard" else [SIGNED_BY[scheme]]:
        rest = CIMultiDict(headers)
        del rest[name]
        with pytest.raises(SignatureError, match=name):
            verify(scheme, rest, body)


@pytest.mark.parametrize("offset_s", [-301, 301, -86_400, 10**11])
def test_old_and_future_timestamps_are_refused(offset_s):
    stamp = int(AT.timestamp()) + offset_s
    signed = Webhook(SECRETS["standard"]).sign("msg_1", datetime.fromtimestamp(stamp, UTC), STANDARD_BODY.decode())
    headers = CIMultiDict(zip(STANDARD_HEADERS, ("msg_1", str(stamp), signed), strict=True))
    with pytest.raises(SignatureError, match="five minutes"):
        verify("standard", headers, STANDARD_BODY)


@pytest.mark.parametrize("timestamp", ["nan", "1e9", "-1", "９", "1731705121.0", " 1731705121 ", "9" * 400])
def test_timestamp_that_is_no_whole_number_is_refused(timestamp):
    with pytest.raises(SignatureError, match="five minutes"):
        verify("standard", CIMultiDict({**STANDARD, "webhook-timestamp": timestamp}), STANDARD_BODY)


@given(st.binary(max_size=300), st.integers(-300, 300), st.binary(min_size=24, max_size=64))
def test_what_the_official_library_signs_is_accepted(body, offset_s, key):
    secret, text = "whsec_" + base64.b64encode(key).decode(), body.hex()
    at = AT + timedelta(seconds=offset_s)
    signature = "v1,AAAA v1a,BBBB " + Webhook(secret).sign("msg_1", at, text)
    headers = CIMultiDict(zip(STANDARD_HEADERS, ("msg_1", str(int(at.timestamp())), signature), strict=True))
    assert verify("standard", headers, text.encode(), secrets=[OTHER, secret]) == Delivered("msg_1")


def test_gitlab_with_a_signing_token_is_verified_by_its_signature():
    headers = CIMultiDict({**STANDARD, "X-Gitlab-Event": "Pipeline Hook"})
    secrets = [SECRETS["standard"]]
    assert verify("gitlab", headers, STANDARD_BODY, secrets=secrets).event == "Pipeline Hook"
    with pytest.raises(SignatureError):
        verify("gitlab", headers, STANDARD_BODY + b" ", secrets=secrets)


@pytest.mark.parametrize("token", ["whsec_!!!!!!!!", "whsec_abcde", "whsec_my-own-token", "whsec_"])
def test_token_that_is_no_signing_secret_signs_nothing(token):
    """Least of all as the empty key, by which anybody could sign."""
    signed = b".".join([STANDARD["webhook-id"].encode(), STANDARD["webhook-timestamp"].encode(), STANDARD_BODY])
    signature = base64.b64encode(hmac.digest(b"", signed, "sha256")).decode()
    headers = CIMultiDict({**STANDARD, "webhook-signature": f"v1,{signature}"})
    with pytest.raises(SignatureError, match="webhook-signature"):
        verify("gitlab", headers, STANDARD_BODY, secrets=[token])


def test_gitlab_without_an_id_is_a_delivery_of_its_own():
    headers, body = sample("gitlab")
    del headers["Idempotency-Key"]
    assert verify("gitlab", headers, body).id == "13792a34-cac6-4fda-95a8-c58e00a3954e"
    del headers["X-Gitlab-Event-UUID"]
    assert verify("gitlab", headers, body).id is None


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_secret_is_compared_to_its_last_byte(scheme, monkeypatch):
    """No comparison ends early: each goes through `hmac.compare_digest`, on texts of one length, for every pair."""
    compared = []
    monkeypatch.setattr(delivered.hmac, "compare_digest", lambda one, other: compared.append((one, other)) or False)
    headers, body = sample(scheme)
    with pytest.raises(SignatureError):
        verify(scheme, headers, body, secrets=[SECRETS[scheme], OTHER])
    assert len(compared) == 2
    assert {len(text) for pair in compared for text in pair} == {32}
