"""Tasks: "this may be due". Each looks at its row and does nothing when it is not: coming twice does no harm.

torch is imported inside, so that whoever enqueues a task does not load it.
"""

from contextlib import suppress

from django_tasks import task

from training.worker.stopping import Stopped, stoppable

GPU = "gpu"


AFTER_A_RUN = 15  # the priority of describing what it made: somebody has waited for the run and wants to see it
QUEUE_IS_LOW = 18  # of pairs: without them annotators have nothing to do


@task(queue_name=GPU, priority=10)  # while the queue is not low: its annotators have enough for now
def generate(generation_id: int) -> None:
    with stoppable() as check:
        from training.generation.pairs import run_generation
        from training.worker.machines import note_machine

        note_machine()
        run_generation(generation_id, check=check)


@task(queue_name=GPU, priority=5)  # people's pairs are written first
def sit(sitting_id: int) -> None:
    with stoppable() as check:
        from training.ai.sittings import run_sitting

        run_sitting(sitting_id, check=check)


@task(queue_name=GPU, priority=20)  # first: the version it makes writes the pairs that are worth judging next
def train(run_id: int) -> None:
    from training.runs.supervision import run_training

    run_training(run_id)


@task(queue_name=GPU, priority=12)  # its pairs are judged among the others, and a promotion may hang on them
def evaluate(evaluation_id: int) -> None:
    with stoppable() as check:
        from training.evaluations.answers import run_evaluation

        run_evaluation(evaluation_id, check=check)


@task(queue_name=GPU, priority=-5)  # the queue goes on without it
def score_comparisons(scoring_id: int) -> None:
    with stoppable() as check:
        from training.rewards.scoring import run_scoring

        run_scoring(scoring_id, check=check)


@task()  # on the default queue: it needs no GPU
def count_leaderboard(project_id: int) -> None:
    from annotate.models import Project
    from training.leaderboard.counting import count_leaderboard as count

    count(project=Project.objects.get(pk=project_id))


@task(priority=5)  # on the default queue: somebody waits for it
def import_file(file_import_id: int) -> None:
    with stoppable() as check:
        from training.imports.bringing_in import run_import

        run_import(file_import_id, check=check)


@task()  # figures that a page shows; it needs no GPU
def estimate_reliability(project_id: int) -> None:
    from annotate.models import Project
    from annotate.quality.reliability import is_current, refresh_estimate, stored_estimate

    project = Project.objects.get(pk=project_id)
    stored = stored_estimate(project)
    if stored is None or not is_current(stored):
        refresh_estimate(project=project)


@task(queue_name=GPU, priority=14)  # a program waits for it; it is short
def answer_inquiry(inquiry_id: int) -> None:
    with stoppable() as check:
        from training.inquiries.answers import run_inquiry

        run_inquiry(inquiry_id, check=check)


@task(queue_name=GPU, priority=-10)  # of a base model: nobody waits for it
def describe_version(version_id: int) -> None:
    with suppress(Stopped), stoppable() as check:  # then the clock asks again
        from training.models import Version
        from training.versions.description import describe_version as describe
        from training.versions.description import showing_life
        from training.worker.machines import note_machine

        note_machine()
        version = Version.objects.select_related("project", "parent").get(pk=version_id)
        describe(version=version, check=showing_life(version, check))


@task(queue_name=GPU, priority=-20)  # where the files are
def remove_files(version_id: int) -> None:
    from training.versions.upkeep import remove_files as remove

    remove(version_id=version_id)


@task(queue_name=GPU, priority=25)  # somebody sits before the page
def answer_tryout(tryout_id: int) -> None:
    with suppress(Stopped), stoppable() as check:
        from training.playground.answers import answer

        answer(tryout_id, check=check)
