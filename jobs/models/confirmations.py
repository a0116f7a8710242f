"""Requests that wait for a person's yes."""

from datetime import datetime
from typing import Any

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.lengths import NAME_LENGTH, SUBJECT_LENGTH


class Confirmation(Model):
    """A request that destroys or overwrites, and waits for the click that makes it a job.

    `state`: waiting, confirmed, dismissed; one that waits is worth nothing any more once `expires_at` has passed.
    `request` is what `JobRequest` says beside who asks; with `second_person` it takes another one than `asked_by`.
    """

    id = fields.IntField(primary_key=True)
    kind = fields.CharField(max_length=63)
    repository_name = fields.CharField(max_length=NAME_LENGTH, null=True)
    host = fields.CharField(max_length=255)
    request: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)
    plan: list[str] = fields.JSONField[list[str]](default=list)
    asked_by = fields.CharField(max_length=SUBJECT_LENGTH)
    origin = fields.CharField(max_length=63)
    request_key = fields.CharField(max_length=255, null=True, unique=True)
    second_person = fields.BooleanField(default=False, db_default=False)
    state = fields.CharField(max_length=16, default="waiting", db_default="waiting")
    decided_by = fields.CharField(max_length=SUBJECT_LENGTH, null=True)
    decided_at = fields.DatetimeField(null=True)
    job_id = fields.IntField(null=True)
    expires_at: datetime = fields.DatetimeField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "confirmations"
        table_description = "requests that wait for a yes"
        indexes = (Index(fields=("job_id",)),)
