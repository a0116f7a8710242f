"""Who may do what, and who asked for what."""

from typing import Any

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.lengths import ACTION_LENGTH, NAME_LENGTH, SUBJECT_LENGTH, TARGET_LENGTH


class ApiToken(Model):
    """A bearer token, known only by its SHA-256 (hex). `rate_limit` is as in `60/m`; None: it may ask at any rate."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=NAME_LENGTH, unique=True)
    digest = fields.CharField(max_length=64, unique=True)
    role = fields.CharField(max_length=16)
    expires_at = fields.DatetimeField(null=True)
    rate_limit = fields.CharField(max_length=16, null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "api_tokens"
        table_description = "bearer tokens by digest"


class RoleBinding(Model):
    """What a subject (`slack:TEAM:USER`, `token:NAME`, …) may do; None for repositories or channels means all."""

    id = fields.IntField(primary_key=True)
    subject = fields.CharField(max_length=SUBJECT_LENGTH, db_index=True)
    role = fields.CharField(max_length=16)
    repositories: list[str] | None = fields.JSONField[list[str] | None](null=True)
    channels: list[str] | None = fields.JSONField[list[str] | None](null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "role_bindings"
        table_description = "who may do what"


class AuditEntry(Model):
    """Who asked what from where, and what became of it. Rows are only ever added."""

    id = fields.BigIntField(primary_key=True)
    at = fields.DatetimeField(auto_now_add=True)
    subject = fields.CharField(max_length=SUBJECT_LENGTH)
    action = fields.CharField(max_length=ACTION_LENGTH)
    target = fields.CharField(max_length=TARGET_LENGTH, null=True)
    origin = fields.CharField(max_length=63)
    result = fields.CharField(max_length=16)
    detail: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)

    class Meta:
        table = "audit"
        table_description = "who asked what"
        indexes = (Index(fields=("subject", "at")),)
