from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0019_who_asked_again')]

    initial = False

    operations = [
        ops.AlterField(
            model_name='HookDelivery',
            name='job_id',
            field=fields.IntField(null=True, db_index=True),
        ),
        ops.AddField(
            model_name='HookDelivery',
            name='confirmation_id',
            field=fields.IntField(null=True, db_index=True),
        ),
    ]
