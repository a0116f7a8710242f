from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0005_leases')]

    initial = False

    operations = [
        ops.CreateModel(
            name='ScheduledJob',
            fields=[
                ('id', fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('name', fields.CharField(unique=True, max_length=63)),
                ('kind', fields.CharField(max_length=63)),
                ('repository', fields.ForeignKeyField('jobs.Repository', source_field='repository_id', null=True, db_constraint=True, to_field='id', related_name='scheduled_jobs', on_delete=OnDelete.CASCADE)),
                ('host', fields.CharField(null=True, max_length=255)),
                ('cron_expression', fields.CharField(max_length=100)),
                ('timezone', fields.CharField(max_length=64)),
                ('enabled', fields.BooleanField(default=True, db_default=True)),
                ('catch_up', fields.CharField(max_length=8)),
                ('overlap', fields.CharField(max_length=8)),
                ('jitter_s', fields.IntField(default=0, db_default=0)),
                ('priority', fields.CharField(max_length=8)),
                ('channel', fields.CharField(null=True, max_length=255)),
                ('template', fields.CharField(null=True, max_length=63)),
                ('parameters', fields.JSONField(default=dict, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('archive_name_template', fields.CharField(null=True, max_length=255)),
                ('run_prune_after', fields.BooleanField(default=False, db_default=False)),
                ('run_compact_after', fields.BooleanField(default=False, db_default=False)),
                ('retention', fields.JSONField(default=dict, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('created_by', fields.CharField(max_length=200)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ('last_run', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('next_run', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'scheduled_jobs', 'app': 'jobs', 'indexes': [Index(fields=['next_run', 'id'])], 'pk_attr': 'id', 'table_description': 'when which job runs'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='ScheduledRun',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('scheduled_job', fields.ForeignKeyField('jobs.ScheduledJob', source_field='scheduled_job_id', db_constraint=True, to_field='id', related_name='runs', on_delete=OnDelete.CASCADE)),
                ('planned_at', fields.DatetimeField(db_index=True, auto_now=False, auto_now_add=False)),
                ('state', fields.CharField(max_length=16)),
                ('job_id', fields.IntField(null=True)),
                ('left_out', fields.IntField(default=0, db_default=0)),
                ('reason', fields.TextField(null=True, unique=False)),
                ('claimed_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'scheduled_runs', 'app': 'jobs', 'unique_together': (('scheduled_job', 'planned_at'),), 'indexes': [Index(fields=['state', 'id'])], 'pk_attr': 'id', 'table_description': 'planned times that were taken'},
            bases=['Model'],
        ),
        ops.AddField(
            model_name='Job',
            name='note',
            field=fields.TextField(null=True, unique=False),
        ),
    ]
