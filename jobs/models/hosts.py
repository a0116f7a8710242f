"""Machines whose workers run jobs."""

from tortoise import Model, fields


class Host(Model):
    """A machine whose worker runs jobs. `data_directory_id` is the fingerprint of `public_key` (base64, X25519)."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=255, unique=True)
    data_directory_id = fields.CharField(max_length=64, null=True)
    public_key = fields.TextField(null=True)
    borg_version = fields.CharField(max_length=32, null=True)
    max_jobs = fields.IntField(default=4, db_default=4)
    last_seen_at = fields.DatetimeField(null=True)
    silence_told_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "hosts"
        table_description = "machines that run jobs"
