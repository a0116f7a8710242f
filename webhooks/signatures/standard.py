"""Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, no older or newer than five minutes.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#webhook-headers-sending-metadata-to-consumers
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from webhooks.signatures.delivered import Delivered, SignatureError, any_equal, header

TOLERANCE_S = 300
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's prefix, not a secret


def key_of(secret: str) -> bytes:
    """The key that a secret `whsec_…` holds in base64; empty where it holds none."""
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, at: datetime) -> Delivered:
    """The delivery, where one of its signatures is by one of the secrets; raises `SignatureError`."""
    webhook_id, timestamp, given = header(headers, ID), header(headers, TIMESTAMP), header(headers, SIGNATURE)
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(at.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise SignatureError(f"The {TIMESTAMP} is not within five minutes of now. Is the sender's clock right?")
    content = f"{webhook_id}.{timestamp}.".encode(errors="surrogateescape") + body
    if not any_equal(given.split(" "), [f"v1,{signed}" for signed in _signatures(secrets, content)]):
        raise SignatureError(f"No {SIGNATURE} is right. Has the sender this hook's secret, and is the body unchanged?")
    return Delivered(webhook_id)


def _signatures(secrets: Sequence[str], content: bytes) -> Iterator[str]:
    """Compared as text: base64 has several spellings of some bytes. What is no key signs nothing."""
    for key in filter(None, map(key_of, secrets)):
        yield base64.b64encode(hmac.digest(key, content, "sha256")).decode()
