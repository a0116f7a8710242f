from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('jobs', '0008_hooks')]

    initial = False

    operations = [
        ops.CreateModel(
            name='Package',
            fields=[
                ('id', fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('host', fields.CharField(max_length=255)),
                ('name', fields.CharField(max_length=128)),
                ('version', fields.CharField(max_length=255)),
                ('status', fields.CharField(max_length=32)),
                ('job_id', fields.IntField()),
                ('updated_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'packages', 'app': 'jobs', 'unique_together': (('host', 'name'),), 'pk_attr': 'id', 'table_description': 'packages installed on hosts'},
            bases=['Model'],
        ),
    ]
