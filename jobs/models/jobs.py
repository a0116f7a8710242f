"""Jobs of every kind, and their logs."""

from typing import Any

from tortoise import Model, fields
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.indexes import Index

from jobs.models.lengths import NAME_LENGTH, SUBJECT_LENGTH
from jobs.models.repositories import Repository


class Job(Model):
    """One job of any kind, from its acceptance to its end.

    `request_key` makes a repeated request find the first job; `running_lock` holds the lane while the job may touch it;
    `attempt` fences every write of a run, `retries` counts those of them that followed a failure; `queue_rank` orders
    what waits; `follow_ups` are what its success starts, `parent_id` the first job of their chain; `revision` grows
    with each change that a person could see. `late_status` is how a job ended after all that had been given up with its
    host.
    """

    id = fields.IntField(primary_key=True)
    kind = fields.CharField(max_length=63)
    status = fields.CharField(max_length=16)
    repository_id: int | None
    repository: fields.ForeignKeyNullableRelation[Repository] = fields.ForeignKeyField(
        "jobs.Repository", related_name="jobs", null=True, on_delete=fields.OnDelete.SET_NULL
    )
    repository_name = fields.CharField(max_length=NAME_LENGTH, null=True)
    host = fields.CharField(max_length=255)
    parameters: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)
    request_key = fields.CharField(max_length=255, null=True, unique=True)
    lane = fields.CharField(max_length=64, null=True)
    running_lock = fields.CharField(max_length=64, null=True, unique=True)
    data_directory_id = fields.CharField(max_length=64, null=True)
    attempt = fields.IntField(default=1, db_default=1)
    retries = fields.IntField(default=0, db_default=0)
    priority = fields.IntField(default=0, db_default=0)
    queue_rank = fields.BigIntField(default=0, db_default=0)
    not_before = fields.DatetimeField(null=True)
    archive_name = fields.CharField(max_length=255, null=True)
    progress: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)
    revision = fields.IntField(default=1, db_default=1)
    warnings = fields.IntField(default=0, db_default=0)
    error_code = fields.CharField(max_length=63, null=True)
    error_message = fields.TextField(null=True)
    note = fields.TextField(null=True)
    late_status = fields.CharField(max_length=16, null=True)
    requested_by = fields.CharField(max_length=SUBJECT_LENGTH)
    cancel_requested_by = fields.CharField(max_length=SUBJECT_LENGTH, null=True)
    origin = fields.CharField(max_length=63)
    retry_of = fields.IntField(null=True)
    parent_id = fields.IntField(null=True, db_index=True)
    follow_ups: list[dict[str, Any]] = fields.JSONField[list[dict[str, Any]]](default=list, db_default="[]")
    scheduled_job_id = fields.IntField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    started_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)

    async def get_repository(self, using_db: BaseDBAsyncClient | None = None) -> Repository | None:
        """The repository it works on; None when it has none or that was removed."""
        if self.repository_id is None:
            return None
        return await Repository.filter(id=self.repository_id).using_db(using_db).first()

    class Meta:
        table = "jobs"
        table_description = "jobs of every kind"
        indexes = (
            Index(fields=("host", "status", "queue_rank")),
            Index(fields=("repository_id", "kind", "id")),
            Index(fields=("status", "id")),
            Index(fields=("retry_of",)),
        )


class LogChunk(Model):
    """A compressed (zlib) piece of a job's log. `number` counts from 0; a gap means the middle was dropped, `start`
    says how much.

    `start` is the offset of the piece's first byte in the whole uncompressed log, `size` its uncompressed length in
    bytes.
    """

    id = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField("jobs.Job", related_name="log_chunks")
    number = fields.IntField()
    start = fields.BigIntField()
    size = fields.IntField()
    data = fields.BinaryField()

    class Meta:
        table = "log_chunks"
        table_description = "job logs in pieces"
        unique_together = (("job", "number"),)
