"""Endpoints: model servers that speak OpenAI's chat completions, and what asking them has cost."""

from datetime import timedelta
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from annotate.models import Project, User

PER = Decimal(1_000_000)  # tokens that a price is for


class Endpoint(models.Model):
    """One server, one model on it. Its key is here, encrypted (`training.endpoints.keys`), or in the environment."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=100)
    base_url = models.CharField("Base URL", max_length=500)
    model = models.CharField(max_length=200, help_text="As the server calls it.")
    encrypted_key = models.TextField(blank=True)
    key_variable = models.CharField(max_length=100, blank=True, help_text="The environment variable that holds the key.")
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    concurrency = models.PositiveSmallIntegerField(default=4, validators=[MinValueValidator(1), MaxValueValidator(64)])
    timeout_seconds = models.PositiveIntegerField(default=60, validators=[MinValueValidator(1), MaxValueValidator(3600)])
    price_in = models.DecimalField(max_digits=10, decimal_places=4, default=0, validators=[MinValueValidator(0)])
    price_out = models.DecimalField(max_digits=10, decimal_places=4, default=0, validators=[MinValueValidator(0)])
    extra = models.JSONField(default=dict, blank=True, help_text="Fields added to every request.")
    loads_adapters = models.BooleanField(default=False, help_text="A vLLM into which LoRA adapters may be loaded.")
    features = models.JSONField(default=dict, blank=True, help_text="What the last test showed (`training.endpoints.probe`).")
    next_request_at = models.DateTimeField(null=True, blank=True, help_text="When the next request may be sent: its rate limit.")
    changed_at = models.DateTimeField(auto_now=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                name="endpoint_name_is_unique_in_its_project",
                violation_error_message="This project has an endpoint of that name. Take another.",
            ),
            models.CheckConstraint(
                condition=Q(encrypted_key="") | Q(key_variable=""),
                name="endpoint_has_one_key",
                violation_error_message="The key is typed in or taken from the environment, not both.",
            ),
            models.CheckConstraint(condition=Q(concurrency__gte=1), name="endpoint_is_asked_at_least_one_at_a_time"),
            models.CheckConstraint(condition=Q(price_in__gte=0, price_out__gte=0), name="endpoint_price_is_not_negative"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_key(self) -> bool:
        return bool(self.encrypted_key or self.key_variable)

    @property
    def was_tested(self) -> bool:
        return "at" in self.features

    def offers(self, feature: str) -> bool:
        """Whether the last test showed it: "n", "logprobs", "seed", "usage", "samples"."""
        return bool(self.features.get(feature))

    @property
    def pause(self) -> timedelta:
        """Between two requests, so that the rate limit holds."""
        return timedelta(minutes=1) / self.requests_per_minute if self.requests_per_minute else timedelta(0)

    def cost_of(self, *, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """In US dollars."""
        return (self.price_in * prompt_tokens + self.price_out * completion_tokens) / PER


class Metered(models.Model):
    """What a job asked of endpoints. Tokens are those the server told, or counted in what it sent."""

    requests = models.PositiveIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=16, decimal_places=8, default=0, help_text="US dollars, at the endpoint's prices then.")

    class Meta:
        abstract = True
