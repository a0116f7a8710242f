"""What we sign is what the official library verifies."""

import base64
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from jobs.clock import now
from webhooks.signatures.signing import UnusableSecretError, signature


def secret_of(raw):
    return "whsec_" + base64.b64encode(raw).decode()


OLD, NEW, FOREIGN = (secret_of(letter * 32) for letter in (b"o", b"n", b"f"))
BODY = b'{"a":1}'


def headers(secrets, body, at, webhook_id="msg_1"):
    stamp = str(int(at.timestamp()))
    signed = signature(secrets, webhook_id, at, body)
    return {"webhook-id": webhook_id, "webhook-timestamp": stamp, "webhook-signature": signed}


@given(raw=st.binary(min_size=24, max_size=64), text=st.text(st.characters(codec="utf-8")))
def test_official_library_verifies_our_signature(raw, text):
    signed = headers(secret_of(raw), text.encode(), now())
    Webhook(secret_of(raw)).verify(text.encode(), signed, json_parse=False)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_during_a_rotation_each_of_the_two_secrets_verifies(secret):
    signed = headers(f"{NEW} {OLD}", BODY, now())
    assert signed["webhook-signature"].count("v1,") == 2
    Webhook(secret).verify(BODY, signed)


@pytest.mark.parametrize(
    ("secret", "body", "changed", "age"),
    [
        (FOREIGN, BODY, {}, timedelta()),
        (NEW, b'{"a":2}', {}, timedelta()),
        (NEW, BODY, {"webhook-id": "msg_2"}, timedelta()),
        (NEW, BODY, {"webhook-timestamp": "1"}, timedelta()),
        (NEW, BODY, {}, timedelta(minutes=6)),
        (NEW, BODY, {}, timedelta(minutes=-6)),
    ],
)
def test_signature_covers_secret_body_id_and_time(secret, body, changed, age):
    signed = headers(NEW, BODY, now() - age)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, signed | changed)


@pytest.mark.parametrize("secret", ["", "  ", "whsec_", "whsec_AbCdE", "whsec_geheimnisß"])
def test_unusable_secret_is_refused_without_being_named(secret):
    with pytest.raises(UnusableSecretError) as refusal:
        signature(secret, "msg_1", now(), BODY)
    assert "AbCdE" not in str(refusal.value)
    assert "geheim" not in str(refusal.value)
