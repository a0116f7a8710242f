"""What threads must show, and the chat of the console."""

from typing import Any

from tortoise import Model, fields
from tortoise.indexes import Index

from jobs.models.confirmations import Confirmation
from jobs.models.jobs import Job


class PostedMessage(Model):
    """A message that a platform must show, and how far it has it.

    `state` goes unsent → sending → sent, or refused; `shown_digest` tells what the message shows; it is `settled`
    once it shows the end of what it is about. Who calls the platform first claims the row until `claimed_until`.
    """

    id = fields.IntField(primary_key=True)
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
        abstract = True


class ChatMessage(PostedMessage):
    """A message of a job's thread."""

    job_id: int
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField("jobs.Job", related_name="chat_messages")
    part = fields.CharField(max_length=16)

    class Meta:
        table = "chat_messages"
        table_description = "what threads must show"
        unique_together = (("job", "part", "platform"),)
        indexes = (Index(fields=("settled", "id")),)


class QuestionMessage(PostedMessage):
    """A question for a second person, where people see it who may answer."""

    confirmation_id: int
    confirmation: fields.ForeignKeyRelation[Confirmation] = fields.ForeignKeyField(
        "jobs.Confirmation", related_name="messages"
    )

    class Meta:
        table = "question_messages"
        table_description = "questions for a second person, as chats show them"
        unique_together = (("confirmation", "platform"),)
        indexes = (Index(fields=("settled", "id")),)


class ConsoleMessage(Model):
    """A message of the console platform, whose chat is kept here. `thread_id` is the root message's id."""

    id = fields.IntField(primary_key=True)
    channel = fields.CharField(max_length=255)
    thread_id = fields.IntField(null=True, db_index=True)
    content: dict[str, Any] = fields.JSONField[dict[str, Any]]()
    job_id = fields.IntField(null=True, db_index=True)
    confirmation_id = fields.IntField(null=True)
    part = fields.CharField(max_length=16, null=True)
    edits = fields.IntField(default=0, db_default=0)
    created_at = fields.DatetimeField(auto_now_add=True)
    edited_at = fields.DatetimeField(null=True)

    class Meta:
        table = "console_messages"
        table_description = "the console's chat"
