from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0016_token_rate_limit')]

    initial = False

    operations = [
        ops.AddField(
            model_name='Hook',
            name='template',
            field=fields.CharField(null=True, max_length=63),
        ),
        ops.AddField(
            model_name='Hook',
            name='then',
            field=fields.JSONField(default=list, db_default='[]', encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads),
        ),
        ops.AddField(
            model_name='Host',
            name='silence_told_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
    ]
