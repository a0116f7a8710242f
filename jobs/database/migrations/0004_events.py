from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0003_follow_ups')]

    initial = False

    operations = [
        ops.CreateModel(
            name='EventEntry',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('type', fields.CharField(max_length=63)),
                ('repository_name', fields.CharField(null=True, max_length=63)),
                ('job_id', fields.IntField(null=True)),
                ('payload', fields.TextField(unique=False)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'events', 'app': 'jobs', 'indexes': [Index(fields=['job_id', 'id']), Index(fields=['created_at'])], 'pk_attr': 'id', 'table_description': 'what happened'},
            bases=['Model'],
        ),
    ]
