from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0014_answers_and_keys')]

    initial = False

    operations = [
        ops.CreateModel(
            name='DeliveryAttempt',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('delivery', fields.ForeignKeyField('jobs.Delivery', source_field='delivery_id', db_constraint=True, to_field='id', related_name='tries', on_delete=OnDelete.CASCADE)),
                ('at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('status', fields.IntField(null=True)),
                ('error', fields.TextField(null=True, unique=False)),
                ('answer', fields.TextField(null=True, unique=False)),
            ],
            options={'table': 'delivery_attempts', 'app': 'jobs', 'indexes': [Index(fields=['delivery_id', 'id'])], 'pk_attr': 'id', 'table_description': 'what became of each try'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='NotificationChannel',
            fields=[
                ('id', fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('name', fields.CharField(unique=True, max_length=63)),
                ('url', fields.TextField(unique=False)),
                ('service', fields.CharField(max_length=63)),
                ('events', fields.JSONField(null=True, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('repositories', fields.JSONField(null=True, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('timezone', fields.CharField(default='UTC', db_default='UTC', max_length=63)),
                ('digest_at', fields.CharField(null=True, max_length=5)),
                ('quiet_from', fields.CharField(null=True, max_length=5)),
                ('quiet_until', fields.CharField(null=True, max_length=5)),
                ('enabled', fields.BooleanField(default=True, db_default=True)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'notification_channels', 'app': 'jobs', 'pk_attr': 'id', 'table_description': 'places where people read'},
            bases=['Model'],
        ),
        ops.AlterField(
            model_name='Delivery',
            name='subscription',
            field=fields.ForeignKeyField('jobs.Subscription', source_field='subscription_id', null=True, db_constraint=True, to_field='id', related_name='deliveries', on_delete=OnDelete.CASCADE),
        ),
        ops.AddField(
            model_name='Delivery',
            name='held',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='Delivery',
            name='notification_channel',
            field=fields.ForeignKeyField('jobs.NotificationChannel', source_field='notification_channel_id', null=True, db_constraint=True, to_field='id', related_name='deliveries', on_delete=OnDelete.CASCADE),
        ),
        # SQLite makes a table anew where a column's rule changes, and forgets its indexes.
        ops.RunSQL(
            [
                'CREATE INDEX IF NOT EXISTS "idx_deliveries_job_id_2fc298" ON "deliveries" ("job_id")',
                'CREATE INDEX IF NOT EXISTS "idx_deliveries_state_efa7fc" ON "deliveries" ("state", "due_at")',
            ]
        ),
    ]
