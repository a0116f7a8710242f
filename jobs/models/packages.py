"""Debian packages that were installed on hosts."""

from tortoise import Model, fields


class Package(Model):
    """A package on a host, as dpkg told of it at the end of `job_id`."""

    id = fields.IntField(primary_key=True)
    host = fields.CharField(max_length=255)
    name = fields.CharField(max_length=128)
    version = fields.CharField(max_length=255)
    status = fields.CharField(max_length=32)
    job_id = fields.IntField()
    updated_at = fields.DatetimeField()

    class Meta:
        table = "packages"
        table_description = "packages installed on hosts"
        unique_together = (("host", "name"),)
