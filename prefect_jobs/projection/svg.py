"""A workflow's graph as an SVG image: boxes in rows, lines between them. Pure.

For pages that show images but draw no Mermaid, such as Prefect's classic UI.
"""

import re
from collections.abc import Sequence
from html import escape

from prefect_jobs.graph import arranged
from prefect_jobs.projection.dag import COLOURS, OTHER_COLOUR, parents_of
from prefect_jobs.records import NodeRecord

_HEIGHT = 34
_GAP = 16
#: Distance between two layers, so that lines can be followed, and between the lines of one layer.
_LAYER_GAP = 44
_LINE_GAP = 12
_LETTER = 7
_MOST_LETTERS = 22
#: Number of boxes side by side; a wider picture is not readable on a page.
_MOST_ACROSS = 6
_MARGIN = 12
#: Characters that XML cannot represent, escaped or not.
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(nodes: Sequence[NodeRecord]) -> str:
    """The image of a workflow's nodes."""
    parents = parents_of(nodes)
    labels = {node.name: _short(node.name) for node in nodes}
    width = max([6, *(len(label) for label in labels.values())]) * _LETTER + 20
    places, size = _places(arranged(parents), width)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}" font-family="sans-serif" font-size="13">',
        f'<rect width="{size[0]}" height="{size[1]}" rx="8" fill="#f8fafc"/>',
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#64748b"/></marker></defs>',
        '<g stroke="#64748b" fill="none" marker-end="url(#a)">',
    ]
    for name, (x, y) in places.items():
        for parent in parents[name]:
            above_x, above_y = places[parent]
            start, end = above_y + _HEIGHT, y
            middle = (start + end) // 2
            across, above = x + width // 2, above_x + width // 2
            parts.append(f'<path d="M{above},{start} C{above},{middle} {across},{middle} {across},{end}"/>')
    parts.append("</g>")
    for node in nodes:
        x, y = places[node.name]
        fill, text = COLOURS.get(node.status, OTHER_COLOUR)
        parts.append(
            f"<g><title>{_text(node.name)}: {_text(node.status)}</title>"
            f'<rect x="{x}" y="{y}" width="{width}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="#475569"/>'
            f'<text x="{x + width // 2}" y="{y + 22}" text-anchor="middle" fill="{text}">'
            f"{_text(labels[node.name])}</text></g>"
        )
    parts.append("</svg>")
    return "".join(parts)


def _places(rows: Sequence[Sequence[str]], width: int) -> tuple[dict[str, tuple[int, int]], tuple[int, int]]:
    """The upper left corner of each box, and the size of the whole."""
    across = min(_MOST_ACROSS, max((len(row) for row in rows), default=1)) or 1
    whole = across * (width + _GAP) - _GAP
    places: dict[str, tuple[int, int]] = {}
    y = _MARGIN
    for row in rows:
        for start in range(0, len(row), across):
            line = row[start : start + across]
            left = _MARGIN + (whole - len(line) * (width + _GAP) + _GAP) // 2
            for number, name in enumerate(line):
                places[name] = (left + number * (width + _GAP), y)
            y += _HEIGHT + _LINE_GAP
        y += _LAYER_GAP - _LINE_GAP
    return places, (whole + 2 * _MARGIN, max(y - _LAYER_GAP, _MARGIN) + _MARGIN)


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"


def _text(text: str) -> str:
    return escape(_UNSPEAKABLE.sub("\ufffd", text), quote=False)
