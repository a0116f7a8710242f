"""Borg repositories, and what is known of their archives."""

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.lengths import NAME_LENGTH, SUBJECT_LENGTH


class Repository(Model):
    """A borg repository and what is backed up into it. Sizes are bytes; `lane` is shared by rows that mean one
    repository.

    `check_interval_days`, said at `check_interval_since`, has it checked by itself, for `check_max_duration` seconds or
    to its end; `expected_every` is the age in seconds from which its newest archive is too old, and `overdue_…` is what
    has been said of that.

    Behind ssh: `ssh_key` is the path of a private key that was given, `host_key` the fingerprint by which
    the server is trusted, `upload_ratelimit` KiB/s.

    `accepted_location` and `accepts_unencrypted` are what people have answered of borg's questions.
    """

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=NAME_LENGTH, unique=True)
    location = fields.TextField()
    lane = fields.CharField(max_length=64, db_index=True)
    source_directories: list[str] = fields.JSONField[list[str]](default=list)
    exclude_patterns: list[str] = fields.JSONField[list[str]](default=list)
    compression = fields.CharField(max_length=63, default="lz4", db_default="lz4")
    encryption = fields.CharField(max_length=63)
    host = fields.CharField(max_length=255, db_index=True)
    channel = fields.CharField(max_length=255, null=True)
    passphrase = fields.TextField(null=True)
    passphrase_file = fields.TextField(null=True)
    passphrase_command: list[str] | None = fields.JSONField[list[str] | None](null=True)
    ssh_key = fields.TextField(null=True)
    ssh_public_key = fields.TextField(null=True)
    host_key = fields.CharField(max_length=64, null=True)
    remote_path = fields.TextField(null=True)
    upload_ratelimit = fields.IntField(null=True)
    accepted_location = fields.TextField(null=True)
    accepts_unencrypted = fields.BooleanField(default=True, db_default=True)
    key_exported_at = fields.DatetimeField(null=True)
    archive_name_template = fields.CharField(max_length=255)
    archive_glob = fields.CharField(max_length=255)
    borg_id = fields.CharField(max_length=64, null=True)
    size = fields.BigIntField(null=True)
    last_backup = fields.DatetimeField(null=True)
    last_check = fields.DatetimeField(null=True)
    last_compact = fields.DatetimeField(null=True)
    last_prune = fields.DatetimeField(null=True)
    check_interval_days = fields.IntField(null=True)
    check_interval_since = fields.DatetimeField(null=True)
    check_max_duration = fields.IntField(null=True)
    expected_every = fields.IntField(null=True)
    overdue_since = fields.DatetimeField(null=True)
    overdue_told_at = fields.DatetimeField(null=True)
    overdue_snoozed_until = fields.DatetimeField(null=True)
    overdue_acknowledged_by = fields.CharField(max_length=SUBJECT_LENGTH, null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "repositories"
        table_description = "borg repositories"


class Archive(Model):
    """An archive as borg counted it when it was made. Sizes are bytes; of one that a list told of they are unknown."""

    id = fields.IntField(primary_key=True)
    repository: fields.ForeignKeyRelation[Repository] = fields.ForeignKeyField(
        "jobs.Repository", related_name="archives"
    )
    borg_id = fields.CharField(max_length=64)
    name = fields.CharField(max_length=255)
    started_at = fields.DatetimeField()
    original_size = fields.BigIntField(null=True)
    nfiles = fields.BigIntField(null=True)
    job_id = fields.IntField(null=True)

    class Meta:
        table = "archives"
        table_description = "archives as borg counted them"
        unique_together = (("repository", "borg_id"),)
        indexes = (Index(fields=("repository_id", "started_at")),)
