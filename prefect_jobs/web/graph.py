"""A workflow's graph as SVG, from left to right; each node leads to its log. The style sheet has the colours. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from prefect_jobs import statuses
from prefect_jobs.graph import arranged
from prefect_jobs.projection.dag import parents_of
from prefect_jobs.records import NodeRecord
from prefect_jobs.web.looks import ICONS, status_class

#: Nodes of a graph that can be read; more are a list.
MOST = 200
_HEIGHT, _GAP, _BETWEEN, _MARGIN = 30, 12, 60, 10
_LETTER, _LETTERS = 8, 24


@dataclass(frozen=True)
class _Box:
    x: int
    y: int


def svg(nodes: Sequence[NodeRecord], address: Callable[[str], str]) -> Markup:
    """The image; empty above :data:`MOST` nodes.

    Args:
        nodes: of one workflow.
        address: name of a node → where its box leads.
    """
    if not nodes or len(nodes) > MOST:
        return Markup("")
    parents = parents_of(nodes)
    width = max(6, *(min(len(node.name), _LETTERS) for node in nodes)) * _LETTER + 34
    boxes, size = _places(arranged(parents), width)
    parts = [
        Markup(
            '<svg class="pj-graph" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" '
            'role="group" aria-label="Graph of {2} nodes">'
        ).format(*size, len(nodes))
    ]
    parts += [_line(boxes[parent], boxes[name], width) for name in boxes for parent in parents[name]]
    parts += [_node(node, boxes[node.name], width, address(node.name)) for node in nodes]
    return Markup("").join([*parts, Markup("</svg>")])


def _line(start: _Box, end: _Box, width: int) -> Markup:
    left, right = start.x + width, end.x
    middle = (left + right) // 2
    upper, lower = start.y + _HEIGHT // 2, end.y + _HEIGHT // 2
    return Markup('<path class="pj-edge" d="M{},{} C{},{} {},{} {},{}"/>').format(
        left, upper, middle, upper, middle, lower, right, lower
    )


def _node(node: NodeRecord, box: _Box, width: int, address: str) -> Markup:
    kind = status_class(statuses.parse(node.status))
    short = node.name if len(node.name) <= _LETTERS else f"{node.name[: _LETTERS - 1]}…"
    return Markup(
        '<a href="{address}"><g class="pj-node pj-{kind}"><title>{name}: {status}</title>'
        '<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'
        '<text x="{left}" y="{base}">{icon} {short}</text></g></a>'
    ).format(
        address=address,
        kind=kind,
        name=node.name,
        status=node.status,
        x=box.x,
        y=box.y,
        width=width,
        height=_HEIGHT,
        left=box.x + 8,
        base=box.y + 20,
        icon=ICONS[kind],
        short=short,
    )


def _places(rows: Sequence[Sequence[str]], width: int) -> tuple[dict[str, _Box], tuple[int, int]]:
    """The upper left corner of each box, and the size of the whole: a column for each layer."""
    tallest = max(len(row) for row in rows)
    height = tallest * (_HEIGHT + _GAP) - _GAP
    boxes: dict[str, _Box] = {}
    for number, row in enumerate(rows):
        top = _MARGIN + (height - len(row) * (_HEIGHT + _GAP) + _GAP) // 2
        for place, name in enumerate(row):
            boxes[name] = _Box(_MARGIN + number * (width + _BETWEEN), top + place * (_HEIGHT + _GAP))
    return boxes, (len(rows) * (width + _BETWEEN) - _BETWEEN + 2 * _MARGIN, height + 2 * _MARGIN)
