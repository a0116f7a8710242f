from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0001_initial')]

    initial = False

    operations = [
        ops.RemoveIndex(
            model_name='Job',
            name=None,
            fields=['host', 'status'],
        ),
        ops.AddField(
            model_name='Job',
            name='late_status',
            field=fields.CharField(null=True, max_length=16),
        ),
        ops.AddField(
            model_name='Job',
            name='queue_rank',
            field=fields.BigIntField(default=0, db_default=0),
        ),
        ops.AddField(
            model_name='Job',
            name='retries',
            field=fields.IntField(default=0, db_default=0),
        ),
        ops.AddIndex(
            model_name='Job',
            index=Index(fields=['host', 'status', 'queue_rank']),
        ),
    ]
