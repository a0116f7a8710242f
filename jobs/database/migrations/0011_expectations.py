from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0010_archives_by_time')]

    initial = False

    operations = [
        ops.AddField(
            model_name='Repository',
            name='check_interval_days',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='Repository',
            name='check_max_duration',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='Repository',
            name='expected_every',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='Repository',
            name='overdue_acknowledged_by',
            field=fields.CharField(null=True, max_length=200),
        ),
        ops.AddField(
            model_name='Repository',
            name='overdue_since',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='Repository',
            name='overdue_snoozed_until',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='Repository',
            name='overdue_told_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
    ]
