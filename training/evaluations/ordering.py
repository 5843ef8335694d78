"""Blind evaluations: asking for one, what decides it, what follows. The answers are written in `training.evaluations.answers`,
what the judgements say is read in `training.evaluations.standings`."""

import logging

from django.db import IntegrityError, transaction
from django.db.models import Max, Q
from django.utils import timezone

from annotate.models import Comparison, Project, User
from annotate.models.project import Promoting
from annotate.queue.retiring import retire
from training import tasks
from training.evaluations.standings import Standing, standing_of
from training.models import Evaluation, Version
from training.models.evaluation import Verdict
from training.models.job import JobState
from training.versions.registry import PromotionRefused, promote, serving_version
from training.worker import jobs

logger = logging.getLogger(__name__)

MOST_BEST_OF = 64


class EvaluationRefused(Exception):
    """It cannot be started; the text says why and what to do."""


# -- asking for one ----------------------------------------------------------------------------------------


def opponent_of(version: Version) -> Version | None:
    """What a version is measured against: the one that serves, or, if it serves itself, its parent."""
    serving = serving_version(version.project)
    return serving if serving and serving.pk != version.pk else version.parent


def start_evaluation(
    *, candidate: Version, opponent: Version, by: User | None = None, prompts: int | None = None, best_of: int = 1,
    promotes: bool = False,
) -> Evaluation:  # fmt: skip
    """An evaluation, queued. `prompts` (the project's number if not given) held-out prompts, or as many as there are.

    Raises EvaluationRefused.
    """
    _refuse_nonsense(candidate, opponent, prompts, best_of)
    project = candidate.project
    heldout = project.prompts.heldout().count()
    if not heldout:
        raise EvaluationRefused("No prompt is held out, so there is nothing to compare versions on. Import more prompts.")
    try:
        with transaction.atomic():
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            evaluation = Evaluation.objects.create(
                project=project,
                number=(project.evaluations.aggregate(newest=Max("number"))["newest"] or 0) + 1,
                candidate=candidate,
                opponent=opponent,
                best_of=best_of,
                prompts_wanted=min(prompts or project.evaluation_prompts, heldout),
                temperature=project.temperature,
                top_p=project.top_p,
                max_new_tokens=project.max_new_tokens,
                bar=project.promotion_bar,
                promotes=promotes,
                started_by=by,
            )
            tasks.evaluate.enqueue(evaluation.pk)
    except IntegrityError:
        raise EvaluationRefused(
            f"{candidate} and {opponent} are being compared already. Wait for that evaluation, or stop it first."
        ) from None
    return evaluation


def _refuse_nonsense(candidate: Version, opponent: Version, prompts: int | None, best_of: int) -> None:
    if candidate.project_id != opponent.project_id:
        raise EvaluationRefused("Both versions must be of the same project.")
    for version in (candidate, opponent):
        if version.is_removed:
            raise EvaluationRefused(
                f"The files of {version} have been deleted: it cannot answer any more. Choose another version."
            )
    if candidate == opponent and best_of == 1:
        raise EvaluationRefused(f"{candidate} cannot be compared with itself. Choose another version.")
    if prompts is not None and prompts < 1:
        raise EvaluationRefused("At least one prompt is needed.")
    if not 1 <= best_of <= MOST_BEST_OF:
        raise EvaluationRefused(f"The best of 1 to {MOST_BEST_OF} answers can be compared.")
    if best_of > 1 and not candidate.run_id:
        raise EvaluationRefused(f"{candidate} was not trained here, so it has no implicit reward to choose the best answer by.")


# -- what decides it ---------------------------------------------------------------------------------------


def decide_evaluations() -> None:
    """The tick's part: those that can be decided are, and what they leave in the queue is retired."""
    for evaluation in Evaluation.objects.being_judged().select_related("project", "candidate", "opponent"):
        decide(evaluation=evaluation)
    retire(Comparison.objects.filter(evaluation_pair__evaluation__in=Evaluation.objects.exclude(verdict=Verdict.NONE)))


def decide(*, evaluation: Evaluation) -> Verdict:
    """Its verdict by the judgements so far, stored if there is one now; then the rest of its comparisons is retired.

    The interval holds at any time (`training.evaluations.sequential`), so it may be asked after each judgement.
    """
    standing = standing_of(evaluation)
    verdict = verdict_of(standing, evaluation.bar)
    if verdict == Verdict.NONE:
        keep_figures(evaluation=evaluation, standing=standing)
    else:
        conclude(evaluation=evaluation, verdict=verdict, standing=standing)
    return verdict


def keep_figures(*, evaluation: Evaluation, standing: Standing) -> None:
    """For the lists of evaluations, which do not count judgements."""
    figures = standing.figures()
    if figures != evaluation.figures:
        Evaluation.objects.being_judged().filter(pk=evaluation.pk).update(figures=figures)


def verdict_of(standing: Standing, bar: float) -> Verdict:
    if standing.bounds.low > bar:
        return Verdict.PASSED
    if standing.bounds.high < bar:
        return Verdict.MISSED
    return Verdict.NONE if standing.waiting else Verdict.UNDECIDED


@transaction.atomic
def conclude(*, evaluation: Evaluation, verdict: Verdict, standing: Standing) -> bool:
    """Store the verdict with the figures it rests on, retire what is left, promote who has earned it. False: it was over."""
    now = timezone.now()
    ended = Evaluation.objects.being_judged().filter(pk=evaluation.pk)
    if not ended.update(verdict=verdict, decided_at=now, figures=standing.figures()):
        return False
    evaluation.refresh_from_db()
    retire(Comparison.objects.filter(evaluation_pair__evaluation=evaluation))
    logger.info("%s of %s: %s", evaluation, evaluation.project.slug, verdict.label)
    if verdict == Verdict.PASSED and evaluation.promotes and serving_version(evaluation.project) == evaluation.opponent:
        why = f"{evaluation}: it wins {standing.in_words} against {evaluation.opponent}"
        try:
            promote(version=evaluation.candidate, why=why)
        except PromotionRefused as refusal:  # its files have been deleted while it was judged
            logger.warning("%s of %s: %s", evaluation, evaluation.project.slug, refusal)
    return True


def stop_evaluation(*, evaluation: Evaluation) -> bool:
    """End it by hand: what has been judged stays, nothing more is asked. False if it was over."""
    if jobs.request_cancel(job=evaluation):
        return True
    return evaluation.is_judged and conclude(evaluation=evaluation, verdict=Verdict.STOPPED, standing=standing_of(evaluation))


# -- by itself ---------------------------------------------------------------------------------------------


def evaluate_finished_runs() -> None:
    """The tick's part: the newest version that a run has made is evaluated, once, where the project wants that."""
    wanted = Q(evaluates_finished_runs=True) | Q(promoting=Promoting.EVALUATED)
    for project in Project.objects.current().filter(wanted):
        if candidate := version_due(project):
            try:
                promotes = project.promoting == Promoting.EVALUATED
                start_evaluation(candidate=candidate, opponent=opponent_of(candidate), promotes=promotes)
            except EvaluationRefused as refusal:
                logger.debug("%s: %s is not evaluated: %s", project.slug, candidate, refusal)


def version_due(project: Project) -> Version | None:
    """The newest trained version, if nobody has ever asked for its evaluation and there is one to measure it against."""
    newest = project.versions.filter(run__state=JobState.DONE).select_related("parent", "project").order_by("-number").first()
    if newest is None or newest.evaluations.exists() or opponent_of(newest) is None:
        return None
    return newest
