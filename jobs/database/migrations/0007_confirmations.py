from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0006_schedules')]

    initial = False

    operations = [
        ops.CreateModel(
            name='Confirmation',
            fields=[
                ('id', fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('kind', fields.CharField(max_length=63)),
                ('repository_name', fields.CharField(null=True, max_length=63)),
                ('host', fields.CharField(max_length=255)),
                ('request', fields.JSONField(default=dict, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('plan', fields.JSONField(default=list, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('asked_by', fields.CharField(max_length=200)),
                ('origin', fields.CharField(max_length=63)),
                ('request_key', fields.CharField(null=True, unique=True, max_length=255)),
                ('second_person', fields.BooleanField(default=False, db_default=False)),
                ('state', fields.CharField(default='waiting', db_default='waiting', max_length=16)),
                ('decided_by', fields.CharField(null=True, max_length=200)),
                ('decided_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('job_id', fields.IntField(null=True)),
                ('expires_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'confirmations', 'app': 'jobs', 'pk_attr': 'id', 'table_description': 'requests that wait for a yes'},
            bases=['Model'],
        ),
        ops.AddIndex(
            model_name='AuditEntry',
            index=Index(fields=['subject', 'at']),
        ),
    ]
