"""What the names in a file mean: which of them are ours."""

import ast
import builtins

from prefect_jobs.tethys.move.names import MODULES, Match, match
from prefect_jobs.tethys.move.scopes import Binding, How, Names, Scope, Use
from prefect_jobs.tethys.move.source import Source

#: Names that each module has.
_GIVEN = frozenset(dir(builtins)) | {
    "__annotations__",
    "__builtins__",
    "__class__",
    "__file__",
    "__module__",
    "__path__",
    "__qualname__",
    "WindowsError",
}


class Code:
    """A file, with its names.

    Attributes:
        source: its text.
        names: its scopes.
        nodes: all nodes of its tree.
        stars: the modules whose names are all imported.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names = Names(source.tree)
        self.nodes = list(ast.walk(source.tree))
        self.stars = [
            ("." * node.level + (node.module or ""))
            for node in self.nodes
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        ]

    def binding_scope(self, node: ast.Name) -> tuple[Scope, list[Binding]] | None:
        """The scope that binds a name, and its bindings there, without ``None`` as a value."""
        use = self.names.use(node)
        scope = use.scope.owner(node.id) if use else None
        if scope is None:
            return None
        bindings = scope.bindings.get(node.id, [])
        return scope, [each for each in bindings if not _is_none(each.node)]

    def ours(self, node: ast.expr) -> Match | None:
        """What a name or a chain of attributes means, if that is a name of the table, and nothing else."""
        paths = self._paths(node)
        found = [match(path) for path in paths]
        if not paths or len({(each.name, each.rest) if each else None for each in found}) != 1:
            return None
        return found[0]

    def imported_path(self, node: ast.expr) -> str:
        """The dotted path that a name or a chain of attributes has by its import; empty if it has none, or several."""
        paths = self._paths(node)
        return paths[0] if len(set(paths)) == 1 else ""

    def unbound(self) -> list[Use]:
        """The names that the file does not bind and Python does not have: those that come by ``import *``."""
        return [use for use in self.names.uses if use.scope.owner(use.node.id) is None and use.node.id not in _GIVEN]

    def _paths(self, node: ast.expr) -> list[str]:
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return []
        bound = self.binding_scope(node)
        if bound is None:
            modules = [module for module in self.stars if node.id in MODULES.get(module, ())]
            return [".".join([module, node.id, *attributes]) for module in modules[:1]]
        _, bindings = bound
        if any(each.how is not How.IMPORT for each in bindings):
            return []
        return [".".join([each.path, *attributes]) for each in bindings]


def _is_none(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
