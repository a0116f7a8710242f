"""Which process does what only one of a fleet does."""

from tortoise import Model, fields

from jobs.models.lengths import NAME_LENGTH


class Lease(Model):
    """The one process that does `name` until `expires_at`, unless it asks for longer."""

    name = fields.CharField(max_length=NAME_LENGTH, primary_key=True)
    holder = fields.CharField(max_length=32)
    expires_at = fields.DatetimeField()

    class Meta:
        table = "leases"
        table_description = "which process does what only one does"
