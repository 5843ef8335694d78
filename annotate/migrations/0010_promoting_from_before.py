"""What the tick box said, as one of three choices."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def forwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("annotate", "Project").objects.filter(promotes_finished_runs=False).update(promoting="by_hand")


def backwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("annotate", "Project").objects.exclude(promoting="at_once").update(promotes_finished_runs=False)


class Migration(migrations.Migration):
    dependencies = [("annotate", "0009_evaluation_settings")]
    operations = [migrations.RunPython(forwards, backwards)]
