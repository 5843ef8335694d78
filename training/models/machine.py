"""Machines: what the workers' devices are, so that a page can say what fits before it starts."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

LATELY = timedelta(days=2)


class MachineQuerySet(models.QuerySet):
    def seen_lately(self):
        return self.filter(seen_at__gt=timezone.now() - LATELY)


class Machine(models.Model):
    """One host with one kind of device, as its newest worker told (`training.worker.machines`)."""

    host = models.CharField(max_length=200)
    device = models.CharField(max_length=10, help_text="cpu or cuda, as torch names it.")
    name = models.CharField(max_length=200, help_text="Of the processor or the GPU.")
    count = models.PositiveIntegerField(help_text="GPUs; of a CPU, its cores.")
    memory_bytes = models.BigIntegerField(help_text="Of one GPU; of a CPU, the host's.")
    flops = models.FloatField(help_text="Floating-point operations a second of a float32 matrix product, measured once.")
    seen_at = models.DateTimeField()

    objects = MachineQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "device"], name="machine_once_per_host_and_device")]

    def __str__(self) -> str:
        return f"{self.name} on {self.host}"
