"""Who asks: from a bearer token (RFC 6750) to a principal. Tokens are known by their SHA-256 only.

A token is found by its digest, so that neither the comparison nor the database's look-up says anything about the token.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from jobs.access import Grant, Principal, Role, chat_principal, everywhere
from jobs.clock import now
from jobs.database.unit import reader
from jobs.models import ApiToken
from jobs.rate import Rate
from jobs.secrets import write_private
from jobs.settings import Settings
from webhooks.problems import HttpProblemError
from webhooks.rate_limits import RateLimits

ADMIN_NAME = "admin"
TOKEN_PREFIX = "locutus_"  # noqa: S105 - not a secret: it tells people and scanners what they look at
ANONYMOUS = Principal("anonymous", ())


def new_token() -> str:
    """A fresh bearer token with 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token; bytes of a header that are no UTF-8 come as surrogates (PEP 383)."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def subject_of(token_name: str) -> str:
    """The subject under which a token acts: `token:NAME`."""
    return f"token:{token_name}"


def load_admin_token(settings: Settings) -> str:
    """The bootstrap token: the setting, else the file `DATA_DIR/admin-token` (0600), made on the first call. Blocks."""
    if settings.admin_token:
        return settings.admin_token.get_secret_value()
    path = settings.data_dir / "admin-token"
    if not path.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        write_private(path, new_token().encode())
    return path.read_text().strip()


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Turns an `Authorization` header into a principal. Without a header it is `local`, where one is given."""

    admin_digest: str
    local: Principal | None = None
    limits: RateLimits = field(default_factory=RateLimits)

    async def principal(self, authorization: str | None, *, spends: bool = True) -> Principal:
        """The asker; raises a 401 problem that says what to send, a 429 problem for one that asks too often.

        Without `spends` it is no request of theirs that counts.
        """
        if authorization is None:
            return self.local or _refuse("Send a token: Authorization: Bearer TOKEN.")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return _refuse("Send the token as Authorization: Bearer TOKEN.")
        known = await self._known(digest(token.strip()), spends=spends)
        return known or _refuse("The token is unknown or has expired. An administrator can make a new one.")

    async def _known(self, token_digest: str, *, spends: bool) -> Principal | None:
        if hmac.compare_digest(token_digest, self.admin_digest):
            return everywhere(subject_of(ADMIN_NAME), Role.ADMINISTER)
        row = await ApiToken.filter(digest=token_digest).using_db(reader()).first()
        if row is None or (row.expires_at and row.expires_at <= now()):
            return None
        if spends and row.rate_limit is not None:
            self.limits.spend(row.name, Rate.parse(row.rate_limit))
        subject = subject_of(row.name)
        bound = await chat_principal(subject)
        return Principal(subject, (Grant(Role.named(row.role)), *bound.grants))


AUTHENTICATOR: web.AppKey[Authenticator] = web.AppKey("authenticator", Authenticator)


def _refuse(detail: str) -> Principal:
    raise HttpProblemError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": 'Bearer realm="Locutus"'})
