"""What the policy answered during a run: the trainer's sample prompts at the start and now, with what lies between."""

from dataclasses import dataclass, field

from training.models import Run
from training.versions.before_and_after import Part, parts

KIND = "samples"  # of the trainer's events


@dataclass(frozen=True)
class Answer:
    step: int
    text: str
    tokens: int
    ended: bool  # by itself, within the limit
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class SampledPrompt:
    """One prompt with its answers in the order of the steps, one at least."""

    prompt: str  # its last message
    answers: list[Answer]

    @property
    def first(self) -> Answer:
        return self._marked(self.answers[0], self.answers[-1])

    @property
    def newest(self) -> Answer | None:
        """None while there is only the start."""
        return self._marked(self.answers[-1], self.answers[0]) if len(self.answers) > 1 else None

    @property
    def between(self) -> list[Answer]:
        return self.answers[1:-1]

    @property
    def same(self) -> bool:
        return len({answer.text for answer in self.answers}) == 1

    def _marked(self, answer: Answer, other: Answer) -> Answer:
        return Answer(answer.step, answer.text, answer.tokens, answer.ended, list(parts(answer.text, other.text)))


def samples_of_run(run: Run) -> list[SampledPrompt]:
    """One for each sample prompt, in the trainer's order; none before the trainer has told the first answers."""
    prompts: dict[int, SampledPrompt] = {}
    for event in run.events.filter(kind=KIND).order_by("line"):
        for told in event.data.get("samples", []):
            last = (told.get("prompt") or [{}])[-1].get("content", "")
            sample = prompts.setdefault(told["line"], SampledPrompt(last, []))
            sample.answers.append(Answer(event.step, told["answer"], told["tokens"], told["ended"]))
    return list(prompts.values())
