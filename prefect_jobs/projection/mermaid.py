"""The nodes of a workflow at its end, as markdown: counts, a picture, a table, and the picture as Mermaid. Pure.

Prefect's newer UI draws Mermaid, its classic one does not; both show images that are embedded in the text.
"""

import base64
import re
from collections.abc import Sequence

from prefect_jobs import statuses
from prefect_jobs.projection.dag import COLOURS, OTHER_COLOUR, counts, parents_of
from prefect_jobs.projection.svg import svg
from prefect_jobs.records import NodeRecord

#: The largest numbers of nodes and lines in a readable picture; Mermaid itself refuses more than 500 lines.
MOST_NODES = 200
MOST_EDGES = 500
_MESSAGE_LIMIT = 200
_LABEL_LIMIT = 60
_MERMAID = {'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}


def summary(nodes: Sequence[NodeRecord]) -> str:
    """One sentence with the number of nodes of each status."""
    what = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    found = ", ".join(f"{number} {_cell(name)}" for name, number in counts(nodes).items())
    return f"{what}: {found}." if found else f"{what}."


def flowchart(nodes: Sequence[NodeRecord]) -> str:
    """The nodes as a Mermaid flowchart, coloured by status."""
    ids = {node.name: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart TD"]
    lines += [f'  {ids[node.name]}["{_label(node.name)}"]:::{_class(node.status)}' for node in nodes]
    lines += [f"  {ids[parent]} --> {ids[name]}" for name, parents in parents_of(nodes).items() for parent in parents]
    for status in dict.fromkeys(node.status if node.status in COLOURS else "" for node in nodes):
        fill, text = COLOURS.get(status, OTHER_COLOUR)
        lines.append(f"  classDef {_class(status)} fill:{fill},color:{text},stroke:#475569")
    return "\n".join(lines)


def markdown(nodes: Sequence[NodeRecord]) -> str:
    """The whole text about the nodes."""
    edges = sum(len(parents) for parents in parents_of(nodes).values())
    parts = [summary(nodes)]
    if not nodes:
        return parts[0] + "\n"
    drawn = len(nodes) <= MOST_NODES and edges <= MOST_EDGES
    if drawn:
        image = base64.b64encode(svg(nodes).encode()).decode()
        parts.append(f"![The nodes and their dependencies](data:image/svg+xml;base64,{image})")
    listed: Sequence[NodeRecord] = nodes
    if len(nodes) > MOST_NODES:
        # Failures first: people look for them.
        open_ones = [node for node in nodes if node.status != statuses.COMPLETE]
        open_ones.sort(key=lambda node: node.status != statuses.ERROR)
        listed = open_ones[:MOST_NODES]
        parts.append(_instead(len(nodes), len(open_ones)))
    elif not drawn:
        parts.append(f"There is no picture: {edges} lines between the nodes are too many.")
    if listed:
        rows = [f"| {_cell(node.name)} | {_cell(node.status)} | {_cell(_cut(node.message))} |" for node in listed]
        parts.append("\n".join(["| Node | Status | Message |", "| --- | --- | --- |", *rows]))
    if drawn:
        parts.append(f"The picture as Mermaid, for other pages:\n\n```mermaid\n{flowchart(nodes)}\n```")
    return "\n\n".join(parts) + "\n"


def _instead(number: int, still_open: int) -> str:
    text = f"There is no picture: {number} nodes are too many."
    if not still_open:
        return f"{text} All are complete."
    if still_open > MOST_NODES:
        return f"{text} Of the {still_open} failed and unfinished ones, these are the first {MOST_NODES}:"
    return f"{text} These are the failed and unfinished ones:"


def _class(status: str) -> str:
    return status.lower() if status in COLOURS else "other"


def _label(name: str) -> str:
    name = " ".join(name.split())
    if len(name) > _LABEL_LIMIT:
        name = f"{name[: _LABEL_LIMIT - 1]}…"
    return "".join(_MERMAID.get(letter, letter) for letter in name)


def _cut(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= _MESSAGE_LIMIT else f"{message[:_MESSAGE_LIMIT]} …"


def _cell(text: str) -> str:
    """A text that markdown shows literally, within a row of a table."""
    return re.sub(r"([\\`*_\[\]<>|~&$#!])", r"\\\1", " ".join(text.split()))
