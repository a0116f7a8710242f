"""GitHub, Gitea and GitLab, as each signs its deliveries. GitHub and Gitea sign the body alone; GitLab sends a token,
or a Standard Webhooks signature where its hook has a signing token.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
https://docs.gitea.com/usage/webhooks
https://docs.gitlab.com/user/project/integrations/webhooks/
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from webhooks.signatures import standard
from webhooks.signatures.delivered import Delivered, SignatureError, any_equal, header

PING = "ping"


def verify_github(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, at: datetime) -> Delivered:
    """`X-Hub-Signature-256`: `sha256=` and the hexadecimal HMAC-SHA256 of the body."""
    del at
    _require_hmac("X-Hub-Signature-256", "sha256=", secrets, headers, body)
    return _delivered(headers, "X-GitHub-Delivery", "X-GitHub-Event")


def verify_gitea(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, at: datetime) -> Delivered:
    """`X-Gitea-Signature`: the hexadecimal HMAC-SHA256 of the body."""
    del at
    _require_hmac("X-Gitea-Signature", "", secrets, headers, body)
    return _delivered(headers, "X-Gitea-Delivery", "X-Gitea-Event")


def verify_gitlab(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, at: datetime) -> Delivered:
    """A Standard Webhooks signature where there is one, else `X-Gitlab-Token`: the secret itself."""
    event = headers.get("X-Gitlab-Event")
    signing = [secret for secret in secrets if secret.startswith(standard.SECRET_PREFIX)]
    if signing and standard.SIGNATURE in headers:
        return Delivered(standard.verify(signing, headers, body, at).id, event)
    if not any_equal([header(headers, "X-Gitlab-Token")], secrets):
        raise SignatureError("The X-Gitlab-Token is not this hook's secret.")
    # Old versions give no id that stays the same on every try.
    return Delivered(headers.get("Idempotency-Key") or headers.get("X-Gitlab-Event-UUID"), event)


def _require_hmac(name: str, prefix: str, secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
    given = header(headers, name)
    if not any_equal([given], [prefix + hmac.digest(secret.encode(), body, "sha256").hex() for secret in secrets]):
        raise SignatureError(f"The {name} is not right. Has the sender this hook's secret, and is the body unchanged?")


def _delivered(headers: Mapping[str, str], id_header: str, event_header: str) -> Delivered:
    event = headers.get(event_header)
    return Delivered(header(headers, id_header), event, is_ping=event == PING)
