from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0020_hook_questions')]

    initial = False

    operations = [
        ops.AddField(
            model_name='Repository',
            name='check_interval_since',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
    ]
