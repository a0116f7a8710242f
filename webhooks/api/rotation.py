"""Exchanging a secret without a gap: the new one and the old one hold side by side until the old one is ended."""

from functools import partial
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from jobs.access import Role
from jobs.database.unit import unit
from webhooks.api.fields import Body
from webhooks.api.stored_secrets import encrypted
from webhooks.resource import Resource
from webhooks.route import Call, Route


class NewSecret(Body):
    """The secret to change to; without one, one is made."""

    secret: SecretStr | None = Field(default=None, max_length=200)


class Rotated(BaseModel):
    """What was rotated. `secret` is the new one where it was made here: this answer alone holds it."""

    id: int
    secret: str | None
    two_secrets: bool


def rotation(resource: Resource[Any, Any], chosen: Any) -> Route:
    """POST `…/{id}/rotate`. `chosen` makes a secret for a row, or checks the one that was given."""

    async def handler(call: Call[NewSecret, None]) -> Rotated:
        return await unit(partial(_rotate, resource, call, chosen))

    summary = f"Gives a {resource.noun} a new secret; the old one holds beside it until `second_secret` is set to null"
    path = f"{resource.path}/{{id}}/rotate"
    return Route("POST", path, Role.ADMINISTER, handler, summary, body=NewSecret, answer=Rotated)


async def _rotate(resource: Resource[Any, Any], call: Call[NewSecret, None], chosen: Any) -> Rotated:
    row = await resource.find(call.id)
    given = call.body.secret.get_secret_value() if call.body.secret else None
    secret = chosen(row, given)
    row.second_secret, row.secret = row.secret, encrypted(call, secret)
    await row.save(update_fields=["secret", "second_secret"])
    await resource.record(call, "rotate", row)
    return Rotated(id=row.id, secret=None if given else secret, two_secrets=True)
