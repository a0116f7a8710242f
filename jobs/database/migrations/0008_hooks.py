from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0007_confirmations')]

    initial = False

    operations = [
        ops.CreateModel(
            name='Hook',
            fields=[
                ('id', fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('name', fields.CharField(unique=True, max_length=63)),
                ('scheme', fields.CharField(max_length=16)),
                ('secret', fields.TextField(unique=False)),
                ('second_secret', fields.TextField(null=True, unique=False)),
                ('kind', fields.CharField(max_length=63)),
                ('repository_name', fields.CharField(null=True, max_length=63)),
                ('host', fields.CharField(null=True, max_length=255)),
                ('parameters', fields.JSONField(default=dict, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('mapping', fields.JSONField(default=dict, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('when', fields.JSONField(default=dict, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('coalesce', fields.BooleanField(default=True, db_default=True)),
                ('channel', fields.CharField(null=True, max_length=255)),
                ('rate_limit', fields.CharField(null=True, max_length=16)),
                ('allowed_addresses', fields.JSONField(null=True, encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('enabled', fields.BooleanField(default=True, db_default=True)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'hooks', 'app': 'jobs', 'pk_attr': 'id', 'table_description': 'who may start what by a signed request'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='HookDelivery',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('hook', fields.ForeignKeyField('jobs.Hook', source_field='hook_id', db_constraint=True, to_field='id', related_name='deliveries', on_delete=OnDelete.CASCADE)),
                ('delivery_id', fields.CharField(null=True, max_length=255)),
                ('job_id', fields.IntField(db_index=True)),
                ('received_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'hook_deliveries', 'app': 'jobs', 'unique_together': (('hook', 'delivery_id'),), 'indexes': [Index(fields=['hook_id', 'received_at']), Index(fields=['received_at'])], 'pk_attr': 'id', 'table_description': 'deliveries that were accepted'},
            bases=['Model'],
        ),
        ops.AddField(
            model_name='Subscription',
            name='second_secret',
            field=fields.TextField(null=True, unique=False),
        ),
    ]
