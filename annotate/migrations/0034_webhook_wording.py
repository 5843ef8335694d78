from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0033_find_gold")]

    operations = [
        migrations.AlterField(
            model_name="delivery",
            name="event",
            field=models.CharField(
                choices=[
                    ("judgements.reached", "Every so many judgements"),
                    ("run.finished", "A run is done, failed or cancelled"),
                    ("version.promoted", "A version starts to serve"),
                ],
                max_length=30,
            ),
        )
    ]
