"""Bearer tokens: made here, answered once, known afterwards by their digest."""

from datetime import datetime
from functools import partial
from http import HTTPStatus

from pydantic import BaseModel
from tortoise.exceptions import IntegrityError

from jobs.access import Role
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import ConflictError, InvalidRequestError
from jobs.models import ApiToken, RoleBinding
from webhooks.api.fields import Body, Moment, RateText, RoleName, TokenName
from webhooks.api.made import made
from webhooks.authentication import ADMIN_NAME, digest, new_token, subject_of
from webhooks.resource import Resource
from webhooks.route import Answer, Call, Route


class NewToken(Body):
    """A token to make; None: it does not expire, and may ask at any rate."""

    name: TokenName
    role: RoleName
    expires_at: Moment | None = None
    rate_limit: RateText | None = None


class TokenChange(Body):
    """What can change of a token; its name is its identity and stays."""

    role: RoleName = "view"
    expires_at: Moment | None = None
    rate_limit: RateText | None = None


class TokenAnswer(BaseModel):
    """A token without the token."""

    id: int
    name: str
    role: str
    expires_at: datetime | None
    rate_limit: str | None
    created_at: datetime


class MadeToken(TokenAnswer):
    """A fresh token: the only answer that holds it."""

    token: str


def present(row: ApiToken) -> TokenAnswer:
    """The row as it is answered."""
    return TokenAnswer.model_validate(row, from_attributes=True)


async def _forget_bindings(row: ApiToken) -> None:
    # A later token of the same name is another one and must not inherit what this one was granted.
    await RoleBinding.filter(subject=subject_of(row.name)).delete()


TOKENS = Resource("/api/tokens", "token", ApiToken, TokenAnswer, present, removed=_forget_bindings)


async def make(call: Call[NewToken, None]) -> Answer:
    """Make a token."""
    if call.body.name == ADMIN_NAME:
        raise InvalidRequestError("name", f"{ADMIN_NAME} is the bootstrap token's name. Choose another one.")
    _still_to_come(call.body.expires_at)
    token = new_token()
    try:
        row = await unit(partial(_make, call, digest(token)))
    except IntegrityError as error:
        raise ConflictError(f"There is a token called {call.body.name} already. Choose another name.") from error
    return made(call, f"{TOKENS.path}/{row.id}", MadeToken(**present(row).model_dump(), token=token))


async def alter(call: Call[TokenChange, None]) -> TokenAnswer:
    """Change role, expiry or rate limit."""
    return present(await unit(partial(_alter, call)))


async def _make(call: Call[NewToken, None], token_digest: str) -> ApiToken:
    row = await ApiToken.create(**call.body.model_dump(), digest=token_digest)
    await TOKENS.record(call, "add", row, name=row.name, role=row.role)
    return row


async def _alter(call: Call[TokenChange, None]) -> ApiToken:
    row = await TOKENS.find(call.id)
    given = call.body.model_dump(exclude_unset=True)
    if given.get("expires_at") != row.expires_at:
        _still_to_come(given.get("expires_at"))
    row.update_from_dict(given)
    await row.save()
    await TOKENS.record(call, "change", row, name=row.name, role=row.role)
    return row


def _still_to_come(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= now():
        raise InvalidRequestError("expires_at", "this time is past. Give a later one, or remove the token to end it.")


ROUTES = (
    TOKENS.listing(),
    Route(
        "POST", TOKENS.path, Role.ADMINISTER, make, "Makes a token, which is answered this once",
        body=NewToken, answer=MadeToken, status=HTTPStatus.CREATED,
    ),
    TOKENS.reading(),
    Route(
        "PUT", f"{TOKENS.path}/{{id}}", Role.ADMINISTER, alter, "Changes a token's role, expiry or rate limit",
        body=TokenChange, answer=TokenAnswer,
    ),
    TOKENS.removal(),
)  # fmt: skip
