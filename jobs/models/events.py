"""What happened, for those who look on."""

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.lengths import NAME_LENGTH


class EventEntry(Model):
    """An event of the catalogue, written in the transaction that made it true. `payload` is its JSON."""

    id = fields.BigIntField(primary_key=True)
    type = fields.CharField(max_length=63)
    repository_name = fields.CharField(max_length=NAME_LENGTH, null=True)
    job_id = fields.IntField(null=True)
    payload = fields.TextField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "events"
        table_description = "what happened"
        indexes = (Index(fields=("job_id", "id")), Index(fields=("created_at",)))
