"""The leaderboard by program: what its page shows."""

from annotate.models import Completion
from tests.builders import make_comparison, make_member, make_prompt
from tests.collecting.judged import judge
from training.leaderboard.counting import count_leaderboard

URL = "/api/v1/projects/taste/leaderboard/"


def test_before_anything_was_counted_it_is_empty_and_then_as_counted(client, project):
    client.force_login(make_member(project, "viewer"), "django.contrib.auth.backends.ModelBackend")
    empty = client.get(URL).json()
    assert (empty["rows"], empty["counted_at"], empty["is_due"]) == ([], None, False)

    annotator = make_member(project, "annotator", "ada")
    for _ in range(3):
        comparison = make_comparison(project, make_prompt(project))
        Completion.objects.filter(pk=comparison.first_id).update(version=None, model_name="theirs")
        Completion.objects.filter(pk=comparison.second_id).update(version=None, model_name="ours")
        judge(comparison, annotator, "second")
    assert client.get(URL).json()["is_due"]
    count_leaderboard(project=project, draws=20)
    answer = client.get(URL)
    board = answer.json()
    assert (board["battles"], board["prompts"], board["is_due"]) == (3, 3, False)
    assert [(row["name"], row["wins"], row["losses"], row["win_rate"]) for row in board["rows"]] == [
        ("ours", 3, 0, 1.0),
        ("theirs", 0, 3, 0.0),
    ]
    assert client.get(URL, headers={"If-None-Match": answer["ETag"]}).status_code == 304
