"""Senders of hooks: each signs as its platform does, apart from the product's own code."""

import base64
import hashlib
import hmac
import itertools
import json
import time
from typing import Any

from standardwebhooks.webhooks import Webhook

from jobs.clock import now

STANDARD_SECRET = "whsec_" + base64.b64encode(b"a hook's secret of the tests").decode()
FORGE_SECRET = "a forge's secret of the tests"
_numbers = itertools.count(1)

Signed = tuple[dict[str, str], bytes]


def fresh_id() -> str:
    return f"delivery-{next(_numbers)}-{time.monotonic_ns()}"


def standard(payload: Any = None, *, secret: str = STANDARD_SECRET, webhook_id: str | None = None) -> Signed:
    body, webhook_id, at = _body(payload), webhook_id or fresh_id(), now()
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, at, body.decode()),
    }
    return headers, body


def github(payload: Any = None, event: str = "push", *, secret: str = FORGE_SECRET, delivery: str = "") -> Signed:
    body = _body(payload)
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or fresh_id(),
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    return headers, body


def gitea(payload: Any = None, event: str = "push", *, secret: str = FORGE_SECRET) -> Signed:
    body = _body(payload)
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Gitea-Event": event, "X-Gitea-Delivery": fresh_id(), "X-Gitea-Signature": signature}, body


def gitlab(payload: Any = None, event: str = "Push Hook", *, secret: str = FORGE_SECRET) -> Signed:
    return {"X-Gitlab-Event": event, "Idempotency-Key": fresh_id(), "X-Gitlab-Token": secret}, _body(payload)


SENDERS = {"standard": standard, "github": github, "gitea": gitea, "gitlab": gitlab}


def _body(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload or {}).encode()
