"""What a value is, if that is clear from the text: one of our classes, a job, a set of jobs, a job manager."""

import ast
from dataclasses import dataclass
from enum import Enum, auto

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.names import APP_CLASS, JOB_CLASSES, MANAGER, NODE_CLASSES, SCHEDULER_CLASSES
from prefect_jobs.tethys.move.scopes import Binding, How, Scope

#: Names that apps give to their job manager alone.
_MANAGERS = frozenset({"job_manager", "jobmanager"})
_JOB_OF_MANAGER = frozenset({"create_job", "get_job"})
_JOB_OF_SET = frozenset({"get", "get_subclass", "first", "last"})
_SET_OF_SET = frozenset({"all", "filter", "exclude", "order_by", "select_subclasses"})


class What(Enum):
    """What a value is."""

    CLASS = auto()
    JOB = auto()
    SET = auto()
    MANAGER = auto()
    #: What a variable is depends on itself: jobs = jobs.filter(…).
    OPEN = auto()


@dataclass(frozen=True)
class Kind:
    """What a value is, and the class of ours that this is about; ``None`` if any job class."""

    what: What
    name: str | None = None

    @property
    def is_job_class(self) -> bool:
        """Whether it is a class of jobs."""
        return self.what is What.CLASS and self.name in JOB_CLASSES


class Kinds:
    """Finds out what the values in a file are."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._open: set[int] = set()
        self._known: dict[int, Kind | None] = {}

    def of(self, node: ast.AST | None) -> Kind | None:
        """What a value is; ``None`` if that is not clear."""
        if node is None:
            return None
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._open:
            return Kind(What.OPEN)
        self._open.add(id(node))
        try:
            kind = self._of(node)
            if kind is None or kind.what is not What.OPEN:
                self._known[id(node)] = kind
            return kind
        finally:
            self._open.discard(id(node))

    def of_class(self, node: ast.ClassDef) -> Kind | None:
        """The class of ours that a class extends."""
        kinds = [kind for kind in map(self.of, node.bases) if kind is not None and kind.what is What.CLASS]
        return kinds[0] if kinds else None

    def value(self, node: ast.expr) -> ast.AST:
        """What a name was bound to, if it was bound once; else the expression itself."""
        if isinstance(node, ast.Name) and (bound := self._code.binding_scope(node)):
            bindings = bound[1]
            if len(bindings) == 1 and bindings[0].how in (How.ASSIGN, How.DEFINE) and bindings[0].node is not None:
                return bindings[0].node
        return node

    def is_local(self, node: ast.expr) -> bool:
        """Whether a name means a function that is defined inside another one."""
        if not isinstance(node, ast.Name) or not isinstance(self.value(node), ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        bound = self._code.binding_scope(node)
        return bound is not None and isinstance(bound[0].node, ast.FunctionDef | ast.AsyncFunctionDef)

    def _of(self, node: ast.AST) -> Kind | None:
        match node:
            case ast.Await() | ast.NamedExpr():
                return self.of(node.value)
            case ast.Call():
                return self._of_call(node)
            case ast.Subscript():
                base = self.of(node.value)
                if base is None or base.what is not What.SET:
                    return None
                return base if isinstance(node.slice, ast.Slice) else Kind(What.JOB, base.name)
            case ast.Name() | ast.Attribute():
                ours = self._code.ours(node)
                if ours is not None and ours.name is not None and not ours.rest:
                    return _of_name(ours.name)
                return self._of_attribute(node) if isinstance(node, ast.Attribute) else self._of_variable(node)
        return None

    def _of_attribute(self, node: ast.Attribute) -> Kind | None:
        if node.attr in _MANAGERS:
            return Kind(What.MANAGER)
        base = self.of(node.value)
        if base is not None and base.is_job_class and node.attr == "objects":
            return Kind(What.SET, base.name)
        return None

    def _of_call(self, node: ast.Call) -> Kind | None:
        function = node.func
        kind = self.of(function)
        if kind is not None and kind.what is What.CLASS:
            if kind.name == MANAGER:
                return Kind(What.MANAGER)
            return Kind(What.JOB, kind.name) if kind.is_job_class else None
        if isinstance(function, ast.Name) and function.id == "super":
            use = self._code.names.use(function)
            return self._instance(use.scope) if use else None
        if not isinstance(function, ast.Attribute):
            return None
        if function.attr == "get_job_manager":
            return Kind(What.MANAGER)
        return self._of_method(self.of(function.value), function.attr)

    def _of_method(self, owner: Kind | None, method: str) -> Kind | None:
        if owner is None or owner.what is What.OPEN:
            return owner
        if owner.what is What.MANAGER:
            if method in _JOB_OF_MANAGER:
                return Kind(What.JOB)
            return Kind(What.SET) if method == "list_jobs" else None
        if owner.what is What.SET:
            if method in _JOB_OF_SET:
                return Kind(What.JOB, owner.name)
            return owner if method in _SET_OF_SET else None
        return None

    def _of_variable(self, node: ast.Name) -> Kind | None:
        bound = self._code.binding_scope(node)
        if bound is None:
            return None
        scope, bindings = bound
        kinds = [self._of_binding(node, scope, each) for each in bindings]
        kinds = [kind for kind in kinds if kind is None or kind.what is not What.OPEN]
        return kinds[0] if kinds and len(set(kinds)) == 1 else None

    def _of_binding(self, node: ast.Name, scope: Scope, binding: Binding) -> Kind | None:
        match binding.how:
            case How.ASSIGN:
                return self.of(binding.node)
            case How.LOOP:
                kind = self.of(binding.node)
                return Kind(What.JOB, kind.name) if kind is not None and kind.what is What.SET else None
            case How.DEFINE:
                return self.of_class(binding.node) if isinstance(binding.node, ast.ClassDef) else None
            case How.ARGUMENT:
                return self._of_argument(node, scope, binding.node)
        return None

    def _of_argument(self, node: ast.Name, scope: Scope, annotation: ast.AST | None) -> Kind | None:
        if node.id in _MANAGERS:
            return Kind(What.MANAGER)
        if node.id == "self":
            return self._instance(scope)
        if node.id == "cls":
            return self._class_around(scope)
        kind = self.of(annotation)
        return Kind(What.JOB, kind.name) if kind is not None and kind.is_job_class else None

    def _instance(self, scope: Scope) -> Kind | None:
        kind = self._class_around(scope)
        return Kind(What.JOB, kind.name) if kind is not None and kind.is_job_class else None

    def _class_around(self, scope: Scope) -> Kind | None:
        above = scope.parent
        return self.of_class(above.node) if above is not None and isinstance(above.node, ast.ClassDef) else None


def _of_name(name: str) -> Kind | None:
    if name in JOB_CLASSES | NODE_CLASSES | SCHEDULER_CLASSES | {APP_CLASS, MANAGER}:
        return Kind(What.CLASS, name)
    return None
