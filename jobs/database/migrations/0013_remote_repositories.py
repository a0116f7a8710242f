from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0012_templates')]

    initial = False

    operations = [
        ops.AddField(
            model_name='Repository',
            name='host_key',
            field=fields.CharField(null=True, max_length=64),
        ),
        ops.AddField(
            model_name='Repository',
            name='remote_path',
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name='Repository',
            name='ssh_key',
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name='Repository',
            name='ssh_public_key',
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name='Repository',
            name='upload_ratelimit',
            field=fields.IntField(null=True),
        ),
    ]
