"""Secrets that people give or have made here: kept encrypted, answered once, and exchanged without a gap."""

import base64
import secrets
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from jobs.errors import ConflictError
from webhooks.route import Call
from webhooks.signatures.standard import SECRET_PREFIX, key_of

SECRET_BYTES = range(24, 65)
LEAST_TEXT = 8


def new_signing_secret() -> str:
    """A fresh Standard Webhooks secret of 256 random bits."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def is_signing_secret(text: str) -> bool:
    """Whether `text` is a Standard Webhooks secret: `whsec_` and 24 to 64 bytes in base64."""
    return text.startswith(SECRET_PREFIX) and len(key_of(text)) in SECRET_BYTES


def is_plain_secret(text: str) -> bool:
    """Whether `text` can be a secret where the scheme takes any, also as a header."""
    return len(text) >= LEAST_TEXT and text.isascii() and text.isprintable() and text == text.strip()


def encrypted(call: Call[Any, Any], secret: str) -> str:
    """What is stored of a secret; raises `ConflictError` where this gateway can store none."""
    if call.context.secrets is None:
        raise ConflictError("Secrets can't be stored: this gateway has no LOCUTUS_SECRET_KEY. Set it and start again.")
    return call.context.secrets.encrypt(secret)


def _signing(given: SecretStr) -> SecretStr:
    if not is_signing_secret(given.get_secret_value()):
        raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64; leave it out and one is made")
    return given


SigningSecret = Annotated[SecretStr, Field(max_length=200), AfterValidator(_signing)]
