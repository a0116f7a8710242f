"""Named sets of parameters."""

from typing import Any

from tortoise import Model, fields

from jobs.models.lengths import NAME_LENGTH


class Template(Model):
    """Parameters of a kind under a name, for any start of that kind."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=NAME_LENGTH, unique=True)
    kind = fields.CharField(max_length=63)
    parameters: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "templates"
        table_description = "named sets of parameters"
