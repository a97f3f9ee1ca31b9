"""Templates: tags that show a table of jobs."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.names import TABLE

#: Before the name there may be that of the gizmo.
_TAG = re.compile(r"\{%-?\s*gizmo\s+(?:\w+\s+)?(?P<name>\w+)\s*-?%\}")


@dataclass(frozen=True)
class Gizmo:
    """A tag that shows a gizmo of Tethys, and what it shows."""

    line: int
    column: int
    tag: str
    name: str

    @property
    def write(self) -> str:
        """What shows a table of ours."""
        return f"{{{{ {self.name} }}}}"


def gizmos(text: str) -> Iterator[Gizmo]:
    """The gizmo tags of a template."""
    for match in _TAG.finditer(text):
        start = match.start()
        yield Gizmo(text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start), match.group(), match["name"])


def table_names(code: Code) -> set[str]:
    """The names that a file gives to tables of jobs: variables, and keys of a context."""
    names: set[str] = set()
    for node in code.nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_table(code, value, names):
                names.add(name)
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str(name)))], value=value):
                if _is_table(code, value, names):
                    names.add(name)
    for node in code.nodes:
        if isinstance(node, ast.Dict):
            names |= {
                key.value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and _is_table(code, value, names)
            }
    return names


def _is_table(code: Code, value: ast.expr, names: set[str]) -> bool:
    if isinstance(value, ast.Name):
        return value.id in names
    ours = code.ours(value.func) if isinstance(value, ast.Call) else None
    return ours is not None and ours.name == TABLE and not ours.rest
