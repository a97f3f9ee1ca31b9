"""Walks over a graph of names, given as a mapping from each name to its parents. Pure.

Parents that are no keys of the mapping are ignored. No walk recurses: a chain may be longer than Python's stack.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

Parents = Mapping[str, Iterable[str]]


def children_of(parents: Parents) -> dict[str, list[str]]:
    """The children of each name, each child once."""
    found: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in parents.items():
        for parent in dict.fromkeys(above):
            if parent in found:
                found[parent].append(name)
    return found


def in_order(parents: Parents) -> list[str]:
    """Every name after all of its parents; names in a cycle, or below one, are left out."""
    children = children_of(parents)
    waiting = {name: len({parent for parent in above if parent in parents}) for name, above in parents.items()}
    ready = [name for name, number in waiting.items() if not number]
    for name in ready:  # grows while it is iterated
        for child in children[name]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return ready


def layers(parents: Parents) -> list[list[str]]:
    """The names in rows: each one below all of its parents, by the longest path from the roots.

    Names in a cycle, or below one, are in the first row.
    """
    row: dict[str, int] = {}
    for name in in_order(parents):
        row[name] = max((row[parent] + 1 for parent in parents[name] if parent in row), default=0)
    rows: list[list[str]] = [[] for _ in range(max(row.values(), default=0) + 1)]
    for name in parents:
        rows[row.get(name, 0)].append(name)
    return rows


def arranged(parents: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """As :func:`layers`, with the names of each row in the order of their parents, so that fewer lines cross."""
    places: dict[str, float] = {}
    found: list[list[str]] = []
    for row in layers(parents):
        means = {name: _mean([places[parent] for parent in parents[name] if parent in places]) for name in row}
        found.append(sorted(row, key=lambda name: means[name]))
        # Rows are drawn around one middle.
        places.update((name, number - (len(row) - 1) / 2) for number, name in enumerate(found[-1]))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def ancestors(parents: Parents, *names: str) -> set[str]:
    """Every name that comes before one of ``names``."""
    found: set[str] = set()
    waiting = [parent for name in names for parent in parents.get(name, ()) if parent in parents]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(parent for parent in parents[name] if parent in parents)
    return found


def path_down(parents: Parents, ancestor: str, descendant: str) -> list[str] | None:
    """The names along a shortest path from one name down to a descendant, both included; ``None`` if there is
    no such path."""
    child_of: dict[str, str] = {}
    waiting = deque([descendant])
    while waiting:
        name = waiting.popleft()
        for parent in parents.get(name, ()):
            if parent in child_of or parent not in parents:
                continue
            child_of[parent] = name
            if parent == ancestor:
                path = [ancestor, name]
                while path[-1] != descendant:
                    path.append(child_of[path[-1]])
                return path
            waiting.append(parent)
    return None


def find_circle(parents: Parents) -> list[str] | None:
    """A cycle as the names along it, from parent to child, the first one again at the end; ``None`` if there is
    none."""
    done: set[str] = set()
    for start in parents:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(name)
                done.add(name)
                continue
            if name in on_path:
                circle = [*path[path.index(name) :], name]
                return circle[::-1]  # the path went from children to parents
            if name in done or name not in parents:
                continue
            path.append(name)
            on_path.add(name)
            stack.append((name, True))
            stack.extend((parent, False) for parent in parents[name])
    return None
