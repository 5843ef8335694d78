"""Which version came from which, as a picture: a place for each version and a curve for each parent."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.models import Version

STEP, LANE, MARGIN = 112, 64, 40  # pixels between generations, between branches, and around


@dataclass(frozen=True)
class Node:
    version: Version
    x: int
    y: int
    serves: bool


@dataclass(frozen=True)
class Lineage:
    nodes: tuple[Node, ...]
    curves: tuple[str, ...]  # SVG path data, from parent to child
    width: int
    height: int


def lineage_of(versions: Sequence[Version], *, serving: Version | None) -> Lineage:
    """Generations from left to right. The first child of a version stays on its line; each further one opens a line below."""
    children: dict[int | None, list[Version]] = {}
    known = {version.id for version in versions}
    for version in sorted(versions, key=lambda v: v.number):
        children.setdefault(version.parent_id if version.parent_id in known else None, []).append(version)

    places: dict[int, tuple[int, int]] = {}
    lanes = 0
    waiting = [(root, 0, None) for root in reversed(children.get(None, []))]
    while waiting:
        version, depth, lane = waiting.pop()
        if lane is None:
            lane, lanes = lanes, lanes + 1
        places[version.id] = (MARGIN + depth * STEP, MARGIN + lane * LANE)
        heir, *others = children.get(version.id, [None])
        waiting += [(other, depth + 1, None) for other in reversed(others)]
        if heir:
            waiting.append((heir, depth + 1, lane))

    nodes = tuple(Node(v, *places[v.id], serves=v == serving) for v in sorted(versions, key=lambda v: v.number))
    curves = tuple(_curve(places[v.parent_id], places[v.id]) for v in versions if v.parent_id in known)
    width = max((x for x, _ in places.values()), default=0) + MARGIN
    height = max((y for _, y in places.values()), default=0) + MARGIN
    return Lineage(nodes, curves, width, height)


def _curve(parent: tuple[int, int], child: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = parent, child
    middle = (x0 + x1) // 2
    return f"M{x0} {y0} C{middle} {y0} {middle} {y1} {x1} {y1}"
