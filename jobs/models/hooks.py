"""Hooks in: who may start what by a signed request, and the deliveries that have come."""

from typing import Any

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.lengths import NAME_LENGTH

DELIVERY_ID_LENGTH = 255


class Hook(Model):
    """A way in for signed requests, and the job that each of them starts.

    `secret` and `second_secret` are encrypted; either may sign. `parameters` are fixed, `mapping` takes some from the
    payload (parameter to JSON pointer), `then` is the chain.
    """

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=NAME_LENGTH, unique=True)
    scheme = fields.CharField(max_length=16)
    secret = fields.TextField()
    second_secret = fields.TextField(null=True)
    kind = fields.CharField(max_length=63)
    repository_name = fields.CharField(max_length=NAME_LENGTH, null=True)
    host = fields.CharField(max_length=255, null=True)
    template = fields.CharField(max_length=NAME_LENGTH, null=True)
    then: list[dict[str, Any]] = fields.JSONField[list[dict[str, Any]]](default=list, db_default="[]")
    parameters: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)
    mapping: dict[str, str] = fields.JSONField[dict[str, str]](default=dict)
    when: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)
    coalesce = fields.BooleanField(default=True, db_default=True)
    channel = fields.CharField(max_length=255, null=True)
    rate_limit = fields.CharField(max_length=16, null=True)
    allowed_addresses: list[str] | None = fields.JSONField[list[str] | None](null=True)
    enabled = fields.BooleanField(default=True, db_default=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "hooks"
        table_description = "who may start what by a signed request"


class HookDelivery(Model):
    """A delivery that was accepted: its repetition is answered from here. `job_id` is the job it started or joined,
    `confirmation_id` the question that comes first, where it takes a second person.
    """

    id = fields.BigIntField(primary_key=True)
    hook: fields.ForeignKeyRelation[Hook] = fields.ForeignKeyField("jobs.Hook", related_name="deliveries")
    hook_id: int
    delivery_id = fields.CharField(max_length=DELIVERY_ID_LENGTH, null=True)
    job_id = fields.IntField(null=True, db_index=True)
    confirmation_id = fields.IntField(null=True, db_index=True)
    received_at = fields.DatetimeField()

    class Meta:
        table = "hook_deliveries"
        table_description = "deliveries that were accepted"
        unique_together = (("hook", "delivery_id"),)
        indexes = (Index(fields=("hook_id", "received_at")), Index(fields=("received_at",)))
