"""Guidelines that were written before editions were kept become edition 1 of their project."""

from django.db import migrations


def keep_as_first_edition(apps, schema_editor):
    Project = apps.get_model("annotate", "Project")
    GuidelinesEdition = apps.get_model("annotate", "GuidelinesEdition")
    for project in Project.objects.filter(guidelines_edition=None).exclude(guidelines="").iterator():
        edition = GuidelinesEdition.objects.create(project=project, number=1, text=project.guidelines)
        Project.objects.filter(pk=project.pk).update(guidelines_edition=edition)


class Migration(migrations.Migration):
    dependencies = [("annotate", "0007_guidelines_editions")]
    operations = [migrations.RunPython(keep_as_first_edition, migrations.RunPython.noop)]
