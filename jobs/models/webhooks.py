"""What is told to the outside: who wants webhooks and notifications, the outbox, and what became of each try."""

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.lengths import NAME_LENGTH


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


class NotificationChannel(Model):
    """A place where people read. `url` is encrypted, `service` its scheme; `events` are switches, None: the settings'.

    Times of day are `HH:MM` in `timezone`: `digest_at` gathers a day's news into one message, from `quiet_from` to
    `quiet_until` nothing is sent.
    """

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=NAME_LENGTH, unique=True)
    url = fields.TextField()
    service = fields.CharField(max_length=63)
    events: list[str] | None = fields.JSONField[list[str] | None](null=True)
    repositories: list[str] | None = fields.JSONField[list[str] | None](null=True)
    timezone = fields.CharField(max_length=63, default="UTC", db_default="UTC")
    digest_at = fields.CharField(max_length=5, null=True)
    quiet_from = fields.CharField(max_length=5, null=True)
    quiet_until = fields.CharField(max_length=5, null=True)
    enabled = fields.BooleanField(default=True, db_default=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "notification_channels"
        table_description = "places where people read"


class Delivery(Model):
    """An event for one subscription or one notification channel, written in the transaction that made it true (the
    outbox).

    `webhook_id` stays the same on every try. `state`: waiting, delivered, dead. `due_at` is when the next try may
    start; `held`: the first one, too.
    """

    id = fields.IntField(primary_key=True)
    subscription: fields.ForeignKeyNullableRelation[Subscription] = fields.ForeignKeyField(
        "jobs.Subscription", related_name="deliveries", null=True
    )
    subscription_id: int | None
    notification_channel: fields.ForeignKeyNullableRelation[NotificationChannel] = fields.ForeignKeyField(
        "jobs.NotificationChannel", related_name="deliveries", null=True
    )
    notification_channel_id: int | None
    webhook_id = fields.CharField(max_length=64, unique=True)
    event = fields.CharField(max_length=63)
    job_id = fields.IntField(null=True, db_index=True)
    payload = fields.TextField()
    state = fields.CharField(max_length=16, default="waiting", db_default="waiting")
    attempts = fields.IntField(default=0, db_default=0)
    held = fields.BooleanField(default=False, db_default=False)
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


class DeliveryAttempt(Model):
    """One try of a delivery: the HTTP status (None: no answer), what went wrong, and the answer's first bytes."""

    id = fields.BigIntField(primary_key=True)
    delivery: fields.ForeignKeyRelation[Delivery] = fields.ForeignKeyField("jobs.Delivery", related_name="tries")
    delivery_id: int
    at = fields.DatetimeField()
    status = fields.IntField(null=True)
    error = fields.TextField(null=True)
    answer = fields.TextField(null=True)

    class Meta:
        table = "delivery_attempts"
        table_description = "what became of each try"
        indexes = (Index(fields=("delivery_id", "id")),)
