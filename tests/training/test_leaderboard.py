"""The leaderboard: from judgements to ratings, checked by hand, by a second implementation and against a real file."""

import gzip
import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from django.core.cache import cache
from sklearn.linear_model import LogisticRegression

from annotate.data.imports import import_preferences
from annotate.models import Judgement
from tests import builders
from tests.training.rows import make_judgement
from training.clock.automation import count_leaderboards, tasks
from training.leaderboard.battles import read_battles
from training.leaderboard.counting import count_leaderboard, rows_of
from training.leaderboard.pictures import picture_of
from training.leaderboard.ratings import Rating, Table, fit, ranks_of, ratings_of
from training.models import Leaderboard

BATTLES = Path(__file__).parents[3] / "shared" / "data" / "alpaca_battles.jsonl.gz"


def table_of(battles: list[tuple[int, int, float]], prompts: int = 0) -> Table:
    """(first, second, value); each on a prompt of its own unless `prompts` says how many there are."""
    first, second, value = (np.array(column) for column in zip(*battles, strict=True))
    places = np.arange(len(battles)) % prompts if prompts else np.arange(len(battles))
    return Table(first, second, value.astype(float), places, int(max(first.max(), second.max())) + 1, prompts or len(battles))


def random_battles(count: int = 400, authors: int = 5) -> list[tuple[int, int, float]]:
    chance = random.Random(5)
    found = []
    for _ in range(count):
        one, other = chance.sample(range(authors), 2)
        better = chance.random() < 1 / (1 + 2.0 ** (other - one))
        found.append((one, other, chance.choice([0.5, float(better), float(better)])))
    return found


# -- ratings -----------------------------------------------------------------------------------------------


def test_two_authors_by_hand() -> None:
    """Three wins in four are odds of 3: 400 · log10 3 = 190.8 points."""
    ratings = fit(np.array([[0, 1, 1.0], [0, 1, 0.0]]), np.array([3.0, 1.0]), 2, prior=0)
    assert ratings[0] - ratings[1] == pytest.approx(400 * math.log10(3), abs=1e-3) and ratings.mean() == pytest.approx(1000)
    tied = fit(np.array([[0, 1, 0.5], [0, 1, 1.0]]), np.array([2.0, 2.0]), 2, prior=0)
    assert tied[0] - tied[1] == pytest.approx(400 * math.log10(3), abs=1e-3)  # two ties and two wins: 3 to 1


def test_ratings_agree_with_a_logistic_regression() -> None:
    """Bradley–Terry is a logistic regression without intercept on +1 and −1; a tie is half a row each way."""
    battles = random_battles()
    ours = np.array([rating.value for rating in ratings_of(table_of(battles), draws=2)])
    rows, wins, weights = [], [], []
    everybody = [*battles, *((author, 5, 0.5) for author in range(5))]  # each ties once with the imaginary one
    for one, other, value in everybody:
        row = [0.0] * 6
        row[one], row[other] = 1.0, -1.0
        rows += [row, row]
        wins += [1, 0]
        weights += [value, 1 - value]
    model = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(rows, wins, weights)
    theirs = 400 / math.log(10) * (model.coef_[0][:5] - model.coef_[0][:5].mean()) + 1000
    assert ours == pytest.approx(theirs, abs=0.1)


def test_one_that_has_lost_everything_has_a_rating_all_the_same() -> None:
    ratings = ratings_of(table_of([(0, 1, 1.0)] * 20))
    assert all(math.isfinite(value) for rating in ratings for value in (rating.value, rating.low, rating.high))
    assert ratings[0].value > ratings[1].value


def test_authors_that_never_met_stand_beside_each_other() -> None:
    ratings = ratings_of(table_of([(0, 1, 1.0), (0, 1, 0.0), (2, 3, 1.0), (2, 3, 0.0)]))
    assert [rating.value for rating in ratings] == pytest.approx([1000] * 4, abs=0.01)


def test_the_interval_is_that_of_the_log_odds() -> None:
    """Of two authors and n battles the rating difference has the standard error 400 / ln 10 / √(n p q)."""
    battles = [(0, 1, 1.0)] * 120 + [(0, 1, 0.0)] * 80
    one, _ = ratings_of(table_of(battles), draws=1000, prior=0)
    error = 400 / math.log(10) / math.sqrt(200 * 0.6 * 0.4) / 2  # the mean is held at 1000: each moves by half
    assert (one.high - one.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_battles_of_one_prompt_are_drawn_together() -> None:
    """The same 200 battles on ten prompts, each decided one way: far less is known than of 200 prompts."""
    battles = [(0, 1, float(number % 10 < 6)) for number in range(200)]
    apart, _ = ratings_of(table_of(battles), draws=300)
    together, _ = ratings_of(table_of(battles, prompts=10), draws=300)
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_who_cannot_be_told_apart_shares_a_rank() -> None:
    assert ranks_of([Rating(1100, 1050, 1150), Rating(1040, 1000, 1080), Rating(1020, 990, 1060), Rating(900, 800, 950)]) == [
        1, 1, 1, 4,
    ]  # fmt: skip


# -- from judgements ---------------------------------------------------------------------------------------


def judged_by_authors(project, annotator, one: dict, other: dict, outcome: str) -> Judgement:
    prompt = builders.make_prompt(project)
    return make_judgement(
        project, annotator, outcome, prompt=prompt, first=builders.make_completion(prompt, **one),
        second=builders.make_completion(prompt, **other),
    )  # fmt: skip


def test_what_is_a_battle(project, annotator) -> None:
    v0, v1 = builders.make_version(project), builders.make_version(project)
    gpt = {"model_name": "gpt"}
    judged_by_authors(project, annotator, {"version": v1}, {"version": v0}, "first")
    judged_by_authors(project, annotator, {"version": v1}, gpt, "tie")
    judged_by_authors(project, annotator, {"version": v1, "best_of": 4}, {"version": v1}, "second")
    judged_by_authors(project, annotator, {"version": v1}, {"version": v1}, "first")  # one author
    judged_by_authors(project, annotator, gpt, {}, "first")  # nobody knows who wrote the other
    gold = judged_by_authors(project, annotator, {"version": v1}, gpt, "first")
    gold.comparison.purpose = "gold"
    gold.comparison.save()
    Judgement.objects.filter(pk=judged_by_authors(project, annotator, gpt, {"version": v0}, "first").pk).update(
        withdrawn_at="2026-01-01T00:00Z"
    )
    assert [battle.value for battle in read_battles(project)] == [1.0, 0.5, 0.0]
    leaderboard = count_leaderboard(project=project)
    rows = {row.name: (row.version, row.wins, row.ties, row.losses) for row in rows_of(leaderboard)}
    assert rows == {
        "model-1": (1, 2, 1, 0), "model-0": (0, 0, 0, 1), "gpt": (None, 0, 1, 0), "model-1, best of 4": (1, 0, 0, 1),
    }  # fmt: skip
    assert (leaderboard.battles, leaderboard.prompts, leaderboard.unknown) == (3, 3, 1)
    picture = picture_of(rows_of(leaderboard))
    assert all(0 <= bar.low <= bar.at <= bar.high <= 100 for bar in picture.bars) and picture.ticks[0].at == 0


def test_it_is_counted_again_when_somebody_has_judged_and_only_then(project, annotator) -> None:
    v0, v1 = builders.make_version(project), builders.make_version(project)

    def look() -> int:
        cache.clear()
        count_leaderboards()
        return sum(task.task_path == tasks.count_leaderboard.module_path for task in waiting())

    from django_tasks_db.models import DBTaskResult

    def waiting():
        return DBTaskResult.objects.all()

    assert look() == 0
    last = judged_by_authors(project, annotator, {"version": v1}, {"version": v0}, "first")
    assert look() == look() == 1
    first = count_leaderboard(project=project)
    assert count_leaderboard(project=project).counted_at == first.counted_at
    DBTaskResult.objects.all().delete()
    assert look() == 0
    Judgement.objects.filter(pk=last.pk).update(withdrawn_at="2026-01-01T00:00Z")
    assert look() == 1 and count_leaderboard(project=project).rows == []


# -- its page ----------------------------------------------------------------------------------------------


def test_the_page_shows_what_was_counted_in_few_queries(
    client, viewer, project, annotator, django_assert_max_num_queries
) -> None:
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    assert "Nothing to rank yet" in client.get("/projects/taste/leaderboard/").content.decode()
    v0, v1 = builders.make_version(project), builders.make_version(project)
    for _ in range(6):
        judged_by_authors(project, annotator, {"version": v1}, {"version": v0}, "first")
    assert "a worker does it as soon as it is free" in client.get("/projects/taste/leaderboard/").content.decode()
    judged_by_authors(project, annotator, {"version": v0}, {"model_name": "=gpt()"}, "first")
    count_leaderboard(project=project)
    with django_assert_max_num_queries(6):
        page = client.get("/projects/taste/leaderboard/").content.decode()
    assert page.index("model-1") < page.index("model-0") and "7 judgements on 7 prompts" in page and "85.7 %" not in page
    table = client.get("/projects/taste/leaderboard.csv").content.decode()
    assert table.startswith("rank,name,version,rating") and "'=gpt()" in table and len(table.splitlines()) == 4


# -- real battles ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not BATTLES.exists(), reason="real rows that are not part of the project")
def test_win_rates_of_real_battles_are_those_counted_from_the_file(project, tmp_path) -> None:
    """The first 200 of each of five models. All meet one opponent, so that ratings follow from win rates."""
    rows: dict[str, list[dict]] = {}
    with gzip.open(BATTLES, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            rows.setdefault(row["generator_2"], []).append(row)
    chosen = [row for name in sorted(rows)[::9][:5] for row in rows[name][:200]]
    path = tmp_path / "battles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    with path.open("rb") as stream:
        import_preferences(project=project, stream=stream, file_name=path.name)
    counted: Counter[tuple[str, float]] = Counter()
    pair = ("instruction", "generator_1", "output_1", "generator_2", "output_2")
    told = {tuple(row[key] for key in pair): row for row in reversed(chosen)}  # each pair once
    for row in told.values():
        if not row["output_2"].strip():
            continue  # an empty answer is refused
        counted[row["generator_2"], {0.0: 0.5, 1.0: 0.0, 1.5: 0.5, 2.0: 1.0}[row["preference"]]] += 1
    leaderboard = count_leaderboard(project=project)
    found = {row.name: row for row in rows_of(leaderboard)}
    assert len(found) == 6
    (opponent,) = found.keys() - {row["generator_2"] for row in chosen}
    for name in found.keys() - {opponent}:
        won, tied, lost = (counted[name, value] for value in (1.0, 0.5, 0.0))
        assert (found[name].wins, found[name].ties, found[name].losses) == (won, tied, lost)
        odds = (won + tied / 2) / (lost + tied / 2)
        apart = found[name].rating - found[opponent].rating
        assert apart == pytest.approx(400 * math.log10(odds), abs=25)  # but for the prior
    assert Leaderboard.objects.get().battles == counted.total() > 950
