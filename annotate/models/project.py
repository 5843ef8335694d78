"""A project and who may do what in it."""

from datetime import time

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from .guidelines import GuidelinesEdition
from .makers import usual_makers
from .people import User
from .scale import Grades, LeastGrade

SHARE = [MinValueValidator(0.0), MaxValueValidator(1.0)]


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    MANAGER = "manager", "Manager"
    ANNOTATOR = "annotator", "Annotator"
    VIEWER = "viewer", "Viewer"

    @property
    def may_manage(self) -> bool:
        """Train, promote, add people."""
        return self in (Role.OWNER, Role.MANAGER)

    @property
    def may_judge(self) -> bool:
        return self is not Role.VIEWER

    @property
    def may_see_versions(self) -> bool:
        """Runs, versions and everybody's figures. Not the annotators: they judge blind."""
        return self is not Role.ANNOTATOR


class Rationale(models.TextChoices):
    """Whether annotators say why."""

    OFF = "off", "Not asked for"
    OPTIONAL = "optional", "Optional"
    STRONG = "strong", "Required with the strongest grade, else optional"


class Consensus(models.TextChoices):
    """How the judgements of one comparison become triples (`annotate.consensus.triples`)."""

    MAJORITY = "majority", "Majority: what more than half of them say"
    UNANIMOUS = "unanimous", "Unanimous: only what all of them say"
    EVERY = "every", "Every judgement: each one counts by itself"
    RELIABILITY = "reliability", "By reliability: the likeliest answer, given how often each person is right"


class Promoting(models.TextChoices):
    """When the version that a finished run has made starts to serve."""

    AT_ONCE = "at_once", "At once"
    EVALUATED = "evaluated", "After a blind evaluation that it passes"
    BY_HAND = "by_hand", "When somebody makes it serve, on its page"


class Calibration(models.TextChoices):
    """What became of the known answers that somebody new is asked first (`annotate.gold.calibration`)."""

    NOT_NEEDED = "not_needed", "Not asked"  # they were at work before it was asked for
    PASSED = "passed", "Calibrated"
    FAILED = "failed", "Not calibrated"
    EXCUSED = "excused", "Goes on all the same"


class AiJudgements(models.TextChoices):
    """What the judgements of AI annotators are for."""

    COUNT = "count", "Count like people's"
    PRESORT = "presort", "Only sort the queue: people get the pairs first of which the AI is least sure"
    IGNORE = "ignore", "None: AI annotators rest"


class TrainingDay(models.TextChoices):
    """When a run starts by itself, whatever has been judged (`training.clock.scheduling`)."""

    NEVER = "", "Never"
    DAILY = "daily", "Every day"
    MONDAY = "0", "Every Monday"
    TUESDAY = "1", "Every Tuesday"
    WEDNESDAY = "2", "Every Wednesday"
    THURSDAY = "3", "Every Thursday"
    FRIDAY = "4", "Every Friday"
    SATURDAY = "5", "Every Saturday"
    SUNDAY = "6", "Every Sunday"


class ProjectQuerySet(models.QuerySet):
    def current(self):
        """Not archived: work goes on in them."""
        return self.filter(archived_at=None)

    def visible_to(self, user: User):
        return self.filter(memberships__user=user)


class Project(models.Model):
    """One body of work: guidelines, members, prompts, and the defaults for sampling and training."""

    slug = models.SlugField(unique=True, max_length=60)
    name = models.CharField(max_length=100)
    guidelines = models.TextField(
        blank=True, help_text="Markdown. The newest edition's text (annotate.projects.guidelines writes both)."
    )
    guidelines_edition = models.ForeignKey(GuidelinesEdition, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    members = models.ManyToManyField(User, through="Membership", related_name="projects")
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True, blank=True, help_text="Since then it is only looked at: no work, no jobs.")

    # judging
    grades = models.PositiveSmallIntegerField(choices=Grades.choices, default=Grades.TWO)
    allows_tie = models.BooleanField(default=True)
    allows_both_bad = models.BooleanField(default=True)
    rationale = models.CharField(max_length=10, choices=Rationale.choices, default=Rationale.OPTIONAL)
    flags = models.JSONField(default=list, blank=True, help_text="What an annotator can mark a pair with, beside the answer.")
    changeable_minutes = models.PositiveIntegerField(
        default=60, validators=[MaxValueValidator(7 * 24 * 60)], help_text="How long an annotator may change an answer. 0: never."
    )
    shows_agreement = models.BooleanField(default=False, help_text="Annotators see how often they agree with the others.")
    judgements_required = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(50)])
    lease_minutes = models.PositiveSmallIntegerField(default=10, validators=[MinValueValidator(1), MaxValueValidator(240)])
    consensus = models.CharField(max_length=20, choices=Consensus.choices, default=Consensus.MAJORITY)
    confidence_bar = models.FloatField(
        default=0.8,
        validators=[MinValueValidator(0.5), MaxValueValidator(0.999)],
        help_text="Comparisons whose likeliest answer is less likely are in dispute.",
    )
    least_grade = models.PositiveSmallIntegerField(choices=LeastGrade.choices, default=LeastGrade.ANY)
    allows_edit = models.BooleanField(default=False, help_text="Annotators may improve the better answer.")

    # the queue (`annotate.queue.lanes`)
    gold_share = models.FloatField(default=0.05, validators=SHARE, help_text="Of what is handed out, when there is gold.")
    evaluation_share = models.FloatField(default=0.2, validators=SHARE, help_text="Of what is handed out, when any is open.")
    random_share = models.FloatField(default=0.1, validators=SHARE, help_text="Of training comparisons: by chance.")
    judgements_at_most = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(50)], help_text="So many are asked for where people disagree; 0: no more."
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    pause_reason = models.CharField(max_length=300, blank=True, help_text="Annotators read it.")

    # known answers (`annotate.gold.known_answers`, `annotate.gold.calibration`)
    gold_feedback = models.BooleanField(default=False, help_text="After a known answer its annotator is told what was expected.")
    calibration_size = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(200)], help_text="So many known answers come first for somebody new; 0: none."
    )
    calibration_bar = models.FloatField(default=0.7, validators=SHARE, help_text="The share of them that must be right.")
    calibration_stops = models.BooleanField(default=False, help_text="Below the bar, nothing more is handed out.")

    ai_judgements = models.CharField(max_length=10, choices=AiJudgements.choices, default=AiJudgements.COUNT)

    asks_for_ratings = models.BooleanField(default=False, help_text="Single answers are shown, too, for thumbs up or down.")

    # generating
    temperature = models.FloatField(default=1.0, validators=[MinValueValidator(0.0), MaxValueValidator(5.0)])
    top_p = models.FloatField(default=1.0, validators=[MinValueValidator(0.01), MaxValueValidator(1.0)])
    max_new_tokens = models.PositiveIntegerField(default=128, validators=[MinValueValidator(1)])
    answers_per_pair = models.PositiveSmallIntegerField(
        default=2,
        validators=[MinValueValidator(2), MaxValueValidator(16)],
        help_text="Of more than two, the pair is the best and the worst by implicit reward.",
    )
    leaves_out_makers = models.BooleanField(default=False, help_text="Pairs in which an answer names its maker are not kept.")
    maker_names = models.JSONField(default=usual_makers, blank=True, help_text="What counts as such a name.")
    queue_low = models.PositiveIntegerField(default=16, help_text="Generate when fewer comparisons than this are open.")
    queue_high = models.PositiveIntegerField(default=40, help_text="… until this many are open.")

    # training
    preset = models.CharField(max_length=40, default="small", help_text="The trainer's preset for a run.")
    promoting = models.CharField(max_length=10, choices=Promoting.choices, default=Promoting.AT_ONCE)

    trains_after = models.PositiveIntegerField(
        default=0,
        validators=[MaxValueValidator(1_000_000)],
        help_text="New judgements after which a run starts by itself; 0: never.",
    )
    trains_on = models.CharField(max_length=10, choices=TrainingDay.choices, blank=True, default=TrainingDay.NEVER)
    trains_at = models.TimeField(default=time(3), help_text="In the site's time zone.")

    # evaluating
    evaluates_finished_runs = models.BooleanField(
        default=False, help_text="A finished run's version is compared blindly with the one that served."
    )
    evaluation_prompts = models.PositiveIntegerField(
        default=100, validators=[MinValueValidator(1), MaxValueValidator(10_000)], help_text="Held-out prompts of an evaluation."
    )
    promotion_bar = models.FloatField(
        default=0.5,
        validators=[MinValueValidator(0.05), MaxValueValidator(0.95)],
        help_text="The lower bound of a version's win rate must pass it.",
    )

    objects = ProjectQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(queue_low__lte=F("queue_high")),
                name="project_queue_low_at_most_high",
                violation_error_message="The low mark of the queue must not be above its high mark.",
            ),
            models.CheckConstraint(
                condition=Q(judgements_required__gte=1),
                name="project_requires_a_judgement",
                violation_error_message="At least one judgement per comparison is required.",
            ),
            models.CheckConstraint(condition=Q(grades__in=Grades.values), name="project_grades_are_known"),
            models.CheckConstraint(condition=Q(rationale__in=Rationale.values), name="project_rationale_is_known"),
            models.CheckConstraint(condition=Q(least_grade__in=LeastGrade.values), name="project_least_grade_is_known"),
            models.CheckConstraint(
                condition=Q(confidence_bar__gt=0, confidence_bar__lt=1),
                name="project_confidence_bar_is_a_probability",
                violation_error_message="The bar is a probability between 0 and 1.",
            ),
            models.CheckConstraint(condition=Q(answers_per_pair__gte=2), name="project_pair_has_two_answers"),
            models.CheckConstraint(condition=Q(promoting__in=Promoting.values), name="project_promoting_is_known"),
            models.CheckConstraint(
                condition=Q(promotion_bar__gt=0, promotion_bar__lt=1),
                name="project_promotion_bar_is_a_share",
                violation_error_message="The bar is a win rate between 0 and 1.",
            ),
            models.CheckConstraint(
                condition=Q(gold_share__gte=0, evaluation_share__gte=0) & Q(gold_share__lte=1.000001 - F("evaluation_share")),
                name="project_gold_and_evaluation_are_a_share",
                violation_error_message="Gold and evaluation together are at most everything that is handed out.",
            ),
            models.CheckConstraint(
                condition=Q(calibration_bar__gte=0, calibration_bar__lte=1), name="project_calibration_bar_is_a_share"
            ),
            models.CheckConstraint(condition=Q(random_share__gte=0, random_share__lte=1), name="project_random_share_is_a_share"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    def get_absolute_url(self) -> str:
        return reverse("project", args=[self.slug])


class Membership(models.Model):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)
    joined_at = models.DateTimeField(auto_now_add=True)
    calibration = models.CharField(max_length=10, choices=Calibration.choices, blank=True, help_text="Empty until it is known.")
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="Since then they get no work here; the account stays.")
    guidelines_read = models.ForeignKey(
        GuidelinesEdition, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="The newest they opened."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_person_and_project"),
            models.CheckConstraint(
                condition=Q(calibration__in=["", *Calibration.values]), name="membership_calibration_is_known"
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_is_known"),
        ]
