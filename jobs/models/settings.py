"""Settings that people change while Locutus runs."""

from typing import Any

from tortoise import Model, fields


class Setting(Model):
    """A setting that people change while Locutus runs."""

    name = fields.CharField(max_length=63, primary_key=True)
    value: Any = fields.JSONField[Any]()

    class Meta:
        table = "settings"
        table_description = "settings changed at run time"
