"""The one cast and plain builders: `make_comparison(**overrides)` and friends. No fixture dumps."""

import itertools
from typing import Any

from annotate.models import Comparison, Completion, Membership, Project, Prompt, User
from annotate.models.prompt import Split, content_hash
from training.models import Promotion, Version

_count = itertools.count(1)


def make_user(username: str = "", **fields: Any) -> User:
    return User.objects.create_user(username or f"person{next(_count)}", **fields)


def make_project(**fields: Any) -> Project:
    """What is handed out does not depend on chance, unless shares are given."""
    number, by_chance = next(_count), {"gold_share": 0.0, "evaluation_share": 0.0, "random_share": 0.0}
    return Project.objects.create(**{"slug": f"project{number}", "name": f"Project {number}"} | by_chance | fields)


def make_member(project: Project, role: str, username: str = "") -> User:
    user = make_user(username or f"{role}{next(_count)}")
    Membership.objects.create(project=project, user=user, role=role)
    return user


def make_prompt(project: Project, text: str = "", split: Split | None = None, **fields: Any) -> Prompt:
    """A prompt; with `split`, its wording is varied until its hash falls there."""
    text = text or f"Question {next(_count)}?"
    for attempt in itertools.count():
        messages = [{"role": "user", "content": text if not attempt else f"{text} ({attempt})"}]
        digest = content_hash(messages)
        if split is None or Split.of(digest) == split:
            break
    return Prompt.objects.create(
        **{"project": project, "messages": messages, "content_hash": digest, "split": Split.of(digest)} | fields
    )


def make_version(project: Project, serving: bool = False, **fields: Any) -> Version:
    number = project.versions.count()
    defaults = {
        "project": project,
        "number": number,
        "name": f"model-{number}",
        "directory": f"models/none-{next(_count)}",
        "serve_dtype": "float32",
    }
    version = Version.objects.create(**defaults | fields)
    if serving:
        Promotion.objects.create(project=project, version=version)
    return version


def make_completion(prompt: Prompt, text: str = "", version: Version | None = None, **fields: Any) -> Completion:
    return Completion.objects.create(**{"prompt": prompt, "text": text or f"Answer {next(_count)}.", "version": version} | fields)


def make_comparison(project: Project, prompt: Prompt | None = None, version: Version | None = None, **fields: Any) -> Comparison:
    prompt = prompt or make_prompt(project)
    required = fields.pop("judgements_required", project.judgements_required)
    defaults = {
        "project": project,
        "prompt": prompt,
        "judgements_required": required,
        "free_places": required,
    }
    if "first" not in fields:
        fields["first"] = make_completion(prompt, version=version)
    if "second" not in fields:
        fields["second"] = make_completion(prompt, version=version)
    return Comparison.objects.create(**defaults | fields)


def posted_settings(project, **changes) -> dict:
    """What the settings page of a project sends when nothing but `changes` was touched."""
    from training.forms import ProjectForm

    shown = {field.name: field.value() for field in ProjectForm(instance=project)}
    return {
        name: "on" if value is True else value for name, value in shown.items() if value is not None and value is not False
    } | changes
