"""Completion webhooks: who wants them, and the outbox."""

from tortoise import Model, fields
from tortoise.indexes import Index


class Subscription(Model):
    """An endpoint that wants completion webhooks. Each of the secrets is encrypted, and signs."""

    id = fields.IntField(primary_key=True)
    url = fields.TextField()
    secret = fields.TextField()
    second_secret = fields.TextField(null=True)
    events: list[str] = fields.JSONField[list[str]](default=list)
    repositories: list[str] | None = fields.JSONField[list[str] | None](null=True)
    enabled = fields.BooleanField(default=True, db_default=True)
    disabled_reason = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "subscriptions"
        table_description = "endpoints for completion webhooks"


class Delivery(Model):
    """An event for one subscription, written in the transaction that made it true (the outbox).

    `webhook_id` stays the same on every try. `state`: waiting, delivered, dead. `due_at` is when the next try may
    start.
    """

    id = fields.IntField(primary_key=True)
    subscription: fields.ForeignKeyRelation[Subscription] = fields.ForeignKeyField(
        "jobs.Subscription", related_name="deliveries"
    )
    subscription_id: int
    webhook_id = fields.CharField(max_length=64, unique=True)
    event = fields.CharField(max_length=63)
    job_id = fields.IntField(null=True, db_index=True)
    payload = fields.TextField()
    state = fields.CharField(max_length=16, default="waiting", db_default="waiting")
    attempts = fields.IntField(default=0, db_default=0)
    due_at = fields.DatetimeField()
    claimed_until = fields.DatetimeField(null=True)
    last_status = fields.IntField(null=True)
    last_error = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    delivered_at = fields.DatetimeField(null=True)

    class Meta:
        table = "deliveries"
        table_description = "the outbox of completion webhooks"
        indexes = (Index(fields=("state", "due_at")),)
