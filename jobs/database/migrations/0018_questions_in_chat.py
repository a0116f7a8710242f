from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0017_hook_chains')]

    initial = False

    operations = [
        ops.CreateModel(
            name='QuestionMessage',
            fields=[
                ('id', fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('platform', fields.CharField(max_length=16)),
                ('channel', fields.CharField(max_length=255)),
                ('state', fields.CharField(default='unsent', db_default='unsent', max_length=16)),
                ('address', fields.CharField(null=True, max_length=255)),
                ('shown_digest', fields.CharField(null=True, max_length=64)),
                ('settled', fields.BooleanField(default=False, db_default=False)),
                ('claim', fields.CharField(null=True, max_length=32)),
                ('claimed_until', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('failures', fields.IntField(default=0, db_default=0)),
                ('confirmation', fields.ForeignKeyField('jobs.Confirmation', source_field='confirmation_id', db_constraint=True, to_field='id', related_name='messages', on_delete=OnDelete.CASCADE)),
            ],
            options={'table': 'question_messages', 'app': 'jobs', 'unique_together': (('confirmation', 'platform'),), 'indexes': [Index(fields=['settled', 'id'])], 'pk_attr': 'id', 'table_description': 'questions for a second person, as chats show them'},
            bases=['Model'],
        ),
        ops.AddField(
            model_name='ConsoleMessage',
            name='confirmation_id',
            field=fields.IntField(null=True),
        ),
    ]
