"""The tables. Rows are data: what moves a job's state stands in `lifecycle`, what opens a transaction in
`database.unit`.

Each table is described by name, as Tortoise would otherwise copy the class's docstring into the schema.
"""

from typing import Any

from tortoise import Model, fields
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.indexes import Index

NAME_LENGTH = 63
SUBJECT_LENGTH = 200


class Host(Model):
    """A machine whose worker runs jobs. `data_directory_id` is the fingerprint of `public_key` (base64, X25519)."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=255, unique=True)
    data_directory_id = fields.CharField(max_length=64, null=True)
    public_key = fields.TextField(null=True)
    borg_version = fields.CharField(max_length=32, null=True)
    max_jobs = fields.IntField(default=4, db_default=4)
    last_seen_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "hosts"
        table_description = "machines that run jobs"


class Repository(Model):
    """A borg repository and what is backed up into it. Sizes are bytes; `lane` is shared by rows that mean one
    repository.
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
    archive_name_template = fields.CharField(max_length=255)
    archive_glob = fields.CharField(max_length=255)
    borg_id = fields.CharField(max_length=64, null=True)
    size = fields.BigIntField(null=True)
    last_backup = fields.DatetimeField(null=True)
    last_check = fields.DatetimeField(null=True)
    last_compact = fields.DatetimeField(null=True)
    last_prune = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "repositories"
        table_description = "borg repositories"


class Job(Model):
    """One job of any kind, from its acceptance to its end.

    `request_key` makes a repeated request find the first job; `running_lock` holds the lane while the job may touch it;
    `attempt` fences every write of a run, `retries` counts those of them that followed a failure; `queue_rank` orders
    what waits; `revision` grows with each change that a person could see. `late_status` is how a job ended after all
    that had been given up with its host.
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
    late_status = fields.CharField(max_length=16, null=True)
    requested_by = fields.CharField(max_length=SUBJECT_LENGTH)
    cancel_requested_by = fields.CharField(max_length=SUBJECT_LENGTH, null=True)
    origin = fields.CharField(max_length=63)
    retry_of = fields.IntField(null=True)
    parent_id = fields.IntField(null=True, db_index=True)
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


class Archive(Model):
    """An archive as borg counted it when it was made. Sizes are bytes."""

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


class ChatMessage(Model):
    """A message that a job's thread must show, and how far a platform has it.

    `state` goes unsent → sending → sent, or refused; `shown_digest` tells what the message shows; it is `settled`
    once it shows the job's end. Who calls the platform first claims the row until `claimed_until`.
    """

    id = fields.IntField(primary_key=True)
    job_id: int
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField("jobs.Job", related_name="chat_messages")
    part = fields.CharField(max_length=16)
    platform = fields.CharField(max_length=16)
    channel = fields.CharField(max_length=255)
    state = fields.CharField(max_length=16, default="unsent", db_default="unsent")
    address = fields.CharField(max_length=255, null=True)
    shown_digest = fields.CharField(max_length=64, null=True)
    settled = fields.BooleanField(default=False, db_default=False)
    claim = fields.CharField(max_length=32, null=True)
    claimed_until = fields.DatetimeField(null=True)
    failures = fields.IntField(default=0, db_default=0)

    class Meta:
        table = "chat_messages"
        table_description = "what threads must show"
        unique_together = (("job", "part", "platform"),)
        indexes = (Index(fields=("settled", "id")),)


class ConsoleMessage(Model):
    """A message of the console platform, whose chat is kept here. `thread_id` is the root message's id."""

    id = fields.IntField(primary_key=True)
    channel = fields.CharField(max_length=255)
    thread_id = fields.IntField(null=True, db_index=True)
    content: dict[str, Any] = fields.JSONField[dict[str, Any]]()
    job_id = fields.IntField(null=True, db_index=True)
    part = fields.CharField(max_length=16, null=True)
    edits = fields.IntField(default=0, db_default=0)
    created_at = fields.DatetimeField(auto_now_add=True)
    edited_at = fields.DatetimeField(null=True)

    class Meta:
        table = "console_messages"
        table_description = "the console's chat"


class Subscription(Model):
    """An endpoint that wants completion webhooks. `secret` is encrypted."""

    id = fields.IntField(primary_key=True)
    url = fields.TextField()
    secret = fields.TextField()
    events: list[str] = fields.JSONField[list[str]](default=list)
    repositories: list[str] | None = fields.JSONField[list[str] | None](null=True)
    enabled = fields.BooleanField(default=True, db_default=True)
    disabled_reason = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "subscriptions"
        table_description = "endpoints for completion webhooks"


class Delivery(Model):
    """An event for one subscription, written in the transaction that made it true (the outbox).

    `webhook_id` stays the same on every try. `state`: waiting, delivered, dead. `due_at` is when the next try may
    start.
    """

    id = fields.IntField(primary_key=True)
    subscription: fields.ForeignKeyRelation[Subscription] = fields.ForeignKeyField(
        "jobs.Subscription", related_name="deliveries"
    )
    subscription_id: int
    webhook_id = fields.CharField(max_length=64, unique=True)
    event = fields.CharField(max_length=63)
    job_id = fields.IntField(null=True, db_index=True)
    payload = fields.TextField()
    state = fields.CharField(max_length=16, default="waiting", db_default="waiting")
    attempts = fields.IntField(default=0, db_default=0)
    due_at = fields.DatetimeField()
    claimed_until = fields.DatetimeField(null=True)
    last_status = fields.IntField(null=True)
    last_error = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    delivered_at = fields.DatetimeField(null=True)

    class Meta:
        table = "deliveries"
        table_description = "the outbox of completion webhooks"
        indexes = (Index(fields=("state", "due_at")),)


class ApiToken(Model):
    """A bearer token, known only by its SHA-256 (hex)."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=NAME_LENGTH, unique=True)
    digest = fields.CharField(max_length=64, unique=True)
    role = fields.CharField(max_length=16)
    expires_at = fields.DatetimeField(null=True)
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


class Setting(Model):
    """A setting that people change while Locutus runs."""

    name = fields.CharField(max_length=63, primary_key=True)
    value: Any = fields.JSONField[Any]()

    class Meta:
        table = "settings"
        table_description = "settings changed at run time"


class AuditEntry(Model):
    """Who asked what from where, and what became of it. Rows are only ever added."""

    id = fields.BigIntField(primary_key=True)
    at = fields.DatetimeField(auto_now_add=True)
    subject = fields.CharField(max_length=SUBJECT_LENGTH)
    action = fields.CharField(max_length=63)
    target = fields.CharField(max_length=255, null=True)
    origin = fields.CharField(max_length=63)
    result = fields.CharField(max_length=16)
    detail: dict[str, Any] = fields.JSONField[dict[str, Any]](default=dict)

    class Meta:
        table = "audit"
        table_description = "who asked what"
