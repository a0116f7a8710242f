from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0015_notifications')]

    initial = False

    operations = [
        ops.AddField(
            model_name='ApiToken',
            name='rate_limit',
            field=fields.CharField(null=True, max_length=16),
        ),
    ]
