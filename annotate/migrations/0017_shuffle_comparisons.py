"""The comparisons that were there get their random place and their round."""

from django.db import migrations
from django.db.models import Count, F, IntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce, Random


def fill(apps, schema_editor):
    comparisons = apps.get_model("annotate", "Comparison").objects
    before = comparisons.filter(prompt=OuterRef("prompt"), pk__lt=OuterRef("pk")).exclude(state="retired")
    rounds = Subquery(before.order_by().values("prompt").annotate(n=Count("pk")).values("n"), output_field=IntegerField())
    comparisons.annotate(n=rounds).update(shuffle=Random(), round=Coalesce(F("n"), 0))


class Migration(migrations.Migration):
    dependencies = [("annotate", "0016_queue_shares")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
