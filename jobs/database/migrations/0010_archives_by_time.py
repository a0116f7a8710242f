from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('jobs', '0009_packages')]

    initial = False

    operations = [
        ops.AddIndex(
            model_name='Archive',
            index=Index(fields=['repository_id', 'started_at']),
        ),
    ]
