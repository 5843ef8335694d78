"""Which version came from which, as a picture: a place for each version and a curve for each parent."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotate.models import Project
from training.models import Version

STEP, LANE, MARGIN = 112, 64, 40  # pixels between generations, between branches, and around
CLOSE_STEP, CLOSE_LANE = 74, 46  # where there are many
MANY = 40
MOST_DRAWN = 500


@dataclass(frozen=True)
class Node:
    version: Version
    x: int
    y: int
    serves: bool

    @property
    def tells(self) -> str:
        """From whom, by which run, on what."""
        version = self.version
        words = [str(version)] + ([f"from {version.parent}"] if version.parent_id else [])
        if version.run_id:
            words.append(f"by run {version.run.number} on {version.run.dataset.train_count:,} triples ({version.run.dataset})")
        words += [str(alias) for alias in version.aliases.all()] + (["serving"] if self.serves else [])
        return ", ".join(words + (["archived"] if version.archived_at else []))


@dataclass(frozen=True)
class Lineage:
    nodes: tuple[Node, ...]
    curves: tuple[str, ...]  # SVG path data, from parent to child
    width: int
    height: int


def drawn_versions(project: Project) -> list[Version]:
    """The newest MOST_DRAWN of a project, without what a picture does not need."""
    found = project.versions.select_related("parent", "run__dataset").prefetch_related("aliases").defer("metrics", "notes")
    return list(found.order_by("-number")[:MOST_DRAWN])


def lineage_of(versions: Sequence[Version], *, serving: Version | None) -> Lineage:
    """Generations from left to right. The first child of a version stays on its line; each further one takes the highest
    line below that is free for as long as the branch goes on."""
    step, lane_height = (CLOSE_STEP, CLOSE_LANE) if len(versions) > MANY else (STEP, LANE)
    children: dict[int | None, list[Version]] = {}
    known = {version.id for version in versions}
    for version in sorted(versions, key=lambda v: v.number):
        children.setdefault(version.parent_id if version.parent_id in known else None, []).append(version)

    places: dict[int, tuple[int, int]] = {}
    taken: list[list[tuple[int, int]]] = []  # of each line, the generations that branches fill
    waiting = [(root, 0, 0) for root in reversed(children.get(None, []))]
    while waiting:
        version, depth, above = waiting.pop()
        branch = [version]
        while heirs := children.get(branch[-1].id):
            branch.append(heirs[0])
        lane = _free_line(taken, above, max(0, depth - 1), depth + len(branch))
        later = []
        for place, one in enumerate(branch, start=depth):
            places[one.id] = (MARGIN + place * step, MARGIN + lane * lane_height)
            later += [(other, place + 1, lane + 1) for other in children.get(one.id, [])[1:]]
        waiting += reversed(later)

    nodes = tuple(Node(v, *places[v.id], serves=v == serving) for v in sorted(versions, key=lambda v: v.number))
    curves = tuple(_curve(places[v.parent_id], places[v.id]) for v in versions if v.parent_id in known)
    width = max((x for x, _ in places.values()), default=0) + MARGIN
    height = max((y for _, y in places.values()), default=0) + MARGIN
    return Lineage(nodes, curves, width, height)


def _free_line(taken: list[list[tuple[int, int]]], above: int, start: int, end: int) -> int:
    """The first line from `above` on that no branch fills between the two generations; now it is filled."""
    lane = above
    while lane < len(taken) and any(start < to and begin < end for begin, to in taken[lane]):
        lane += 1
    while lane >= len(taken):
        taken.append([])
    taken[lane].append((start, end))
    return lane


def _curve(parent: tuple[int, int], child: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = parent, child
    middle = (x0 + x1) // 2
    return f"M{x0} {y0} C{middle} {y0} {middle} {y1} {x1} {y1}"
