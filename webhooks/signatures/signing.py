"""Standard Webhooks signatures, by the official library (https://www.standardwebhooks.com, "Signature scheme")."""

from datetime import datetime

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook


class UnusableSecretError(Exception):
    """A signing secret is empty or not base64; give the endpoint a new one (`whsec_…`)."""


def signature(secrets: str, webhook_id: str, timestamp: datetime, body: bytes) -> str:
    """The `webhook-signature` of one try: HMAC-SHA256 over `id.timestamp.body`, one `v1,…` for each secret.

    `secrets` is one secret, or several with blanks between them while a receiver changes from one to the other.
    Raises `UnusableSecretError`, without the secret in its text.
    """
    if not secrets.split():
        raise UnusableSecretError("The signing secret is empty. Give a new one.")
    return " ".join(_sign(secret, webhook_id, timestamp, body) for secret in secrets.split())


def _sign(secret: str, webhook_id: str, timestamp: datetime, body: bytes) -> str:
    try:
        return Webhook(secret).sign(webhook_id, timestamp, body.decode())
    except (EmptyWebhookSecretError, ValueError):
        raise UnusableSecretError("The signing secret is not base64 after `whsec_`. Give a new one.") from None
