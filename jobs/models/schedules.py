"""Schedules, and the runs that each has claimed."""

from typing import Any

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.lengths import NAME_LENGTH, SUBJECT_LENGTH
from jobs.models.repositories import Repository


class ScheduledJob(Model):
    """When which job runs. It is no job itself: each time that it comes due makes one.

    `next_run` is when that will be, jitter included; None while it is paused. `jitter_s` is seconds. `parameters` are
    the kind's own; what a backup does after it stands in columns. `repository` is None for a kind that works on `host`.
    """

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=NAME_LENGTH, unique=True)
    kind = fields.CharField(max_length=63)
    repository_id: int | None
    repository: fields.ForeignKeyNullableRelation[Repository] = fields.ForeignKeyField(
        "jobs.Repository", related_name="scheduled_jobs", null=True, on_delete=fields.OnDelete.CASCADE
    )
    host = fields.CharField(max_length=255, null=True)
    cron_expression = fields.CharField(max_length=100)
    timezone = fields.CharField(max_length=64)
    enabled = fields.BooleanField(default=True, db_default=True)
    catch_up = fields.CharField(max_length=8)
    overlap = fields.CharField(max_length=8)
    jitter_s = fields.IntField(default=0, db_default=0)
    priority = fields.CharField(max_length=8)
    channel = fields.CharField(max_length=255, null=True)
    template = fields.CharField(max_length=NAME_LENGTH, null=True)
    parameters: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)
    archive_name_template = fields.CharField(max_length=255, null=True)
    run_prune_after = fields.BooleanField(default=False, db_default=False)
    run_compact_after = fields.BooleanField(default=False, db_default=False)
    retention: dict[str, int] = fields.JSONField[dict[str, int]](default=dict)
    created_by = fields.CharField(max_length=SUBJECT_LENGTH)
    created_at = fields.DatetimeField(auto_now_add=True)
    last_run = fields.DatetimeField(null=True)
    next_run = fields.DatetimeField(null=True)

    class Meta:
        table = "scheduled_jobs"
        table_description = "when which job runs"
        indexes = (Index(fields=("next_run", "id")),)


class ScheduledRun(Model):
    """One planned time of a schedule, taken by one worker: there is no second row of it, so it starts nothing twice.

    `state`: claimed, then started, skipped, missed or refused. `left_out` counts the later times that had passed, too.
    """

    id = fields.BigIntField(primary_key=True)
    scheduled_job_id: int
    scheduled_job: fields.ForeignKeyRelation[ScheduledJob] = fields.ForeignKeyField(
        "jobs.ScheduledJob", related_name="runs"
    )
    planned_at = fields.DatetimeField(db_index=True)
    state = fields.CharField(max_length=16)
    job_id = fields.IntField(null=True)
    left_out = fields.IntField(default=0, db_default=0)
    reason = fields.TextField(null=True)
    claimed_at = fields.DatetimeField()

    class Meta:
        table = "scheduled_runs"
        table_description = "planned times that were taken"
        unique_together = (("scheduled_job", "planned_at"),)
        indexes = (Index(fields=("state", "id")),)
