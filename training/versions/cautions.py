"""What should make a reader look twice at a run or a version, in words. Each says what is seen and what helps."""

from dataclasses import dataclass, replace

from annotate.quality.intervals import interval_of, wilson
from training.models import Run, RunEvent, Version
from training.runs import curves
from training.wording import counted

SHORTER, LONGER = 0.6, 1.6  # mean answer length, relative to another version's
FALL_OF_CHOSEN = 5.0  # nats
LOSS_RISE = 0.02
ENDED_FALL = 0.1  # of all answers
KEPT = 0.5  # of the trained log-ratios
EXPLODED = 15.0  # nats of reward margin: the loss of such a pair is 3e-7, and so is what it still teaches
FEW_HELDOUT = 20  # pairs: below, an accuracy says little


@dataclass(frozen=True)
class Caution:
    title: str
    text: str
    level: str = "warn"
    run: Run | None = None  # whose warning it is, on another page than the run's


def cautions_of_run(run: Run, *, first: dict, last: dict, first_heldout: dict, last_heldout: dict) -> list[Caution]:
    """From the trainer's own warnings and the first and last points of the training and the held-out curves."""
    told = list(run.events.filter(kind="warning")[:5])
    found = [_told(run, event) for event in told]
    if not any(event.data.get("code") == "chosen_falls" for event in told):
        found += _chosen_falls(first_heldout, last_heldout)
    found += _overfitting(first, last, first_heldout, last_heldout)
    found += _exploded(last, last_heldout)
    found += _below_chance(run, last_heldout)
    found += _few_heldout(run, last_heldout)
    return sorted(found, key=lambda caution: caution.level != "warn")


def _told(run: Run, event: RunEvent) -> Caution:
    """A warning of the trainer's. That bfloat16 would lose the signal is none where the version serves in float32."""
    version = getattr(run, "version", None)
    if event.data.get("code") == "bfloat16_loses_signal" and (version is None or version.serve_dtype == "float32"):
        return _serves_in_float32(version.metrics.get("kept_in_bfloat16") if version else None)
    return Caution("The trainer warns", _as_sentence(event.data.get("message", "")))


def pairs_measured(run: Run, last_heldout: dict) -> int:
    """Held-out pairs behind the figures: the trainer may have dropped some as too long."""
    return last_heldout.get("pairs", run.dataset.heldout_count if run.dataset else 0)


def _serves_in_float32(kept: float | None) -> Caution:
    left = "little" if kept is None else f"only {100 * max(kept, 0):.0f} %"
    text = f"In bfloat16 {left} of what was trained would be left. Use float32 where you load it elsewhere, too."
    return Caution("It is served in float32", text, "info")


def _as_sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _chosen_falls(first: dict, last: dict) -> list[Caution]:
    """On the held-out pairs, which are the same each time; one batch differs from the next for other reasons."""
    if not (_both("chosen_logp", first, last) and _both("margin", first, last)):
        return []
    fall = first["chosen_logp"] - last["chosen_logp"]
    if fall <= FALL_OF_CHOSEN or last["margin"] <= first["margin"]:
        return []
    return [
        Caution(
            "The chosen answers are getting less likely",
            f"The margin grows while the held-out chosen answers have lost {fall:.1f} nats: probability is moving to answers "
            "that nobody has compared. Read the samples before this version serves; fewer epochs, a lower learning rate or a "
            "larger β hold it back.",
        )
    ]


def _overfitting(first: dict, last: dict, first_heldout: dict, last_heldout: dict) -> list[Caution]:
    if not (_both("loss", first_heldout, last_heldout) and _both("loss", first, last)):
        return []
    if last_heldout["loss"] <= first_heldout["loss"] + LOSS_RISE or last["loss"] >= first["loss"]:
        return []
    return [
        Caution(
            "It learns its pairs by heart",
            f"The training loss falls, but the held-out loss has risen from {first_heldout['loss']:.3f} to "
            f"{last_heldout['loss']:.3f}. More judgements help most; else fewer epochs.",
        )
    ]


def _exploded(last: dict, last_heldout: dict) -> list[Caution]:
    margin = last_heldout.get("margin", last.get("margin"))
    if not isinstance(margin, int | float) or margin <= EXPLODED:
        return []
    return [
        Caution(
            "The margin has exploded",
            f"The chosen answers are ahead by {margin:.1f} nats of implicit reward: the policy has gone far from its reference "
            "for pairs that it told apart long ago. Stop earlier, lower the learning rate, or take a larger β or IPO.",
        )
    ]


def _below_chance(run: Run, last_heldout: dict) -> list[Caution]:
    """Only where so few right ones would be rare by chance: the 95 % interval ends below one half."""
    share, pairs = last_heldout.get("accuracy"), pairs_measured(run, last_heldout)
    if not isinstance(share, int | float) or not pairs or wilson(share, pairs)[1] >= 0.5:
        return []
    return [
        Caution(
            "It does worse than chance",
            f"Of {counted(pairs, 'held-out pair')} it prefers the chosen answer in {100 * share:.0f} % "
            f"({interval_of(share, pairs)}). It has learnt the opposite of what was judged there: "
            "look for swapped or careless judgements.",
        )
    ]


def _few_heldout(run: Run, last_heldout: dict) -> list[Caution]:
    if run.dataset is None:  # its worker has not taken it: nobody knows yet
        return []
    pairs = pairs_measured(run, last_heldout)
    if pairs == 0:
        text = "No judged pair belongs to a held-out prompt yet, so nothing measures whether this carries over to new prompts."
        return [Caution("Nothing is held out", text, "info")]
    if pairs >= FEW_HELDOUT:
        return []
    share = last_heldout.get("accuracy", 0.5)
    text = f"With so few, an accuracy of {100 * share:.0f} % stands for {interval_of(share, pairs)}. Do not choose between "
    return [Caution(f"Only {counted(pairs, 'held-out pair')}", text + "versions by it alone.", "info")]


def standing_cautions(version: Version, *, base: Version | None) -> list[Caution]:
    """All that stands on a version's page: what its figures show, and the warnings of the run that made it."""
    own = cautions_of_version(version, parent=version.parent, base=base)
    if version.run is None:
        return own
    first, last = curves.ends(run=version.run, kind=curves.TRAIN)
    first_heldout, last_heldout = curves.ends(run=version.run, kind=curves.HELDOUT)
    of_run = cautions_of_run(version.run, first=first, last=last, first_heldout=first_heldout, last_heldout=last_heldout)
    return own + [replace(caution, run=version.run) for caution in of_run if caution.level == "warn"]


def cautions_of_version(version: Version, *, parent: Version | None, base: Version | None) -> list[Caution]:
    """From its figures beside its parent's and the base model's: reward over-optimisation shows in length first."""
    return _length(version, parent, base) + _endings(version, parent) + _kept(version)


def _length(version: Version, parent: Version | None, base: Version | None) -> list[Caution]:
    others = [v for v in dict.fromkeys((parent, base)) if v and v != version and _both("mean_tokens", v.metrics, version.metrics)]
    now = version.metrics.get("mean_tokens")
    changed = [v for v in others if v.metrics["mean_tokens"] and not SHORTER <= now / v.metrics["mean_tokens"] <= LONGER]
    if not changed:
        return []
    shorter = now < changed[0].metrics["mean_tokens"]
    beside = " and ".join(f"{v.metrics['mean_tokens']:.0f} of {v} ({_change(now, v.metrics['mean_tokens'])})" for v in changed)
    return [
        Caution(
            f"Its answers are much {'shorter' if shorter else 'longer'}",
            f"{now:.0f} tokens on average, against {beside}. If length was not what you judged, the training has found a short "
            "cut: read the samples below, and judge some pairs in which length does not decide.",
        )
    ]


def _change(now: float, was: float) -> str:
    return f"{100 * abs(now / was - 1):.0f} % {'fewer' if now < was else 'more'}"


def _endings(version: Version, parent: Version | None) -> list[Caution]:
    if not (parent and _both("ended_share", parent.metrics, version.metrics)):
        return []
    was, now = parent.metrics["ended_share"], version.metrics["ended_share"]
    if now >= was - ENDED_FALL:
        return []
    return [
        Caution(
            "Fewer answers come to an end by themselves",
            f"{100 * now:.0f} %, against {100 * was:.0f} % of {parent}: it is forgetting how to stop. "
            "Read its samples before it serves.",
        )
    ]


def _kept(version: Version) -> list[Caution]:
    """How much of what was trained is left in the precision it serves in."""
    kept = version.metrics.get(f"kept_in_{version.serve_dtype}")
    if not isinstance(kept, int | float) or kept >= KEPT:
        return []
    left = f"{100 * max(kept, 0):.0f} % of what was trained is left"
    text = f"In {version.serve_dtype}, in which it serves, {left}. Serve it in float32."
    return [Caution("It serves in a precision that hides its training", text)]


def _both(key: str, one: dict, other: dict) -> bool:
    return isinstance(one.get(key), int | float) and isinstance(other.get(key), int | float)
