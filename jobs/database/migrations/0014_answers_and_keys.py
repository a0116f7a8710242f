from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0013_remote_repositories')]

    initial = False

    operations = [
        ops.AddField(
            model_name='Repository',
            name='accepted_location',
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name='Repository',
            name='accepts_unencrypted',
            field=fields.BooleanField(default=True, db_default=True),
        ),
        ops.AddField(
            model_name='Repository',
            name='key_exported_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
    ]
