"""The tables. Rows are data: what moves a job's state stands in `lifecycle`, what opens a transaction in
`database.unit`.

Each table is described by name, as Tortoise would otherwise copy the class's docstring into the schema.
"""

from jobs.models.access import ApiToken, AuditEntry, RoleBinding
from jobs.models.chat import ChatMessage, ConsoleMessage, QuestionMessage
from jobs.models.confirmations import Confirmation
from jobs.models.events import EventEntry
from jobs.models.hooks import DELIVERY_ID_LENGTH, Hook, HookDelivery
from jobs.models.hosts import Host
from jobs.models.jobs import Job, LogChunk
from jobs.models.leases import Lease
from jobs.models.lengths import NAME_LENGTH, SUBJECT_LENGTH
from jobs.models.packages import Package
from jobs.models.repositories import Archive, Repository
from jobs.models.schedules import ScheduledJob, ScheduledRun
from jobs.models.settings import Setting
from jobs.models.templates import Template
from jobs.models.webhooks import Delivery, DeliveryAttempt, NotificationChannel, Subscription

__all__ = [
    "DELIVERY_ID_LENGTH",
    "NAME_LENGTH",
    "SUBJECT_LENGTH",
    "ApiToken",
    "Archive",
    "AuditEntry",
    "ChatMessage",
    "Confirmation",
    "ConsoleMessage",
    "Delivery",
    "DeliveryAttempt",
    "EventEntry",
    "Hook",
    "HookDelivery",
    "Host",
    "Job",
    "Lease",
    "LogChunk",
    "NotificationChannel",
    "Package",
    "QuestionMessage",
    "Repository",
    "RoleBinding",
    "ScheduledJob",
    "ScheduledRun",
    "Setting",
    "Subscription",
    "Template",
]
