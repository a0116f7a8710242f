from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0018_questions_in_chat')]

    initial = False

    operations = [
        ops.AddIndex(
            model_name='Confirmation',
            index=Index(fields=['job_id']),
        ),
        ops.AddIndex(
            model_name='Job',
            index=Index(fields=['retry_of']),
        ),
    ]
