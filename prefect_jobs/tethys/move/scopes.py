"""Which names a module binds, where each name is used, and which binding a use means."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
Import = ast.Import | ast.ImportFrom


class How(Enum):
    """How a name is bound."""

    IMPORT = auto()
    ASSIGN = auto()
    LOOP = auto()
    DEFINE = auto()
    ARGUMENT = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Binding:
    """A binding of a name.

    Attributes:
        how: how it is bound.
        node: what is assigned or iterated, the class or function, the annotation of an argument.
        path: of an import, the dotted path that the name means.
    """

    how: How
    node: ast.AST | None = None
    path: str = ""


@dataclass(eq=False)
class Scope:
    """A module, class, function or comprehension."""

    node: ast.AST
    parent: "Scope | None"
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: dict[str, "Scope | None"] = field(default_factory=dict)

    @property
    def is_class(self) -> bool:
        """Whether functions inside do not see its names."""
        return isinstance(self.node, ast.ClassDef)

    def owner(self, name: str) -> "Scope | None":
        """The scope whose binding a name means here; ``None`` if no scope binds it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.elsewhere:
                return scope.elsewhere[name]
            if name in scope.bindings and (scope is self or not scope.is_class):
                return scope
            scope = scope.parent
        return None


@dataclass(frozen=True, eq=False)
class Use:
    """A place where a name is read. ``quoted``: inside an annotation that is a string."""

    node: ast.Name
    scope: Scope
    quoted: bool


@dataclass(frozen=True, eq=False)
class Imported:
    """An import statement, and the scope that has it."""

    node: Import
    scope: Scope


class Names(ast.NodeVisitor):
    """The scopes of a module.

    Attributes:
        module: the outermost scope.
        scopes: all of them.
        uses: where names are read.
        imports: the import statements.
        parents: the node above each node, by its id.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.module = Scope(tree, None)
        self.scopes = [self.module]
        self.uses: list[Use] = []
        self.imports: list[Imported] = []
        self.parents: dict[int, ast.AST] = {}
        self._scope = self.module
        self._annotation = self._quoted = False
        self._trees: list[ast.AST] = []  # alive, since parents are found by ids
        self._add_parents(tree)
        self._visit_all(tree.body)
        self._used = {id(use.node): use for use in self.uses}

    def use(self, node: ast.Name) -> Use | None:
        """The use that a node is."""
        return self._used.get(id(node))

    def uses_of(self, name: str, scope: Scope) -> list[Use]:
        """Where the name is read that a scope binds."""
        return [use for use in self.uses if use.node.id == name and use.scope.owner(name) is scope]

    def chain(self, node: ast.expr) -> tuple[ast.expr, str]:
        """The longest chain of attributes that begins with a node, and its attributes with dots before them."""
        path = ""
        while isinstance(above := self.parents.get(id(node)), ast.Attribute):
            node, path = above, f"{path}.{above.attr}"
        return node, path

    def visit_Import(self, node: ast.Import) -> None:
        self.imports.append(Imported(node, self._scope))
        for alias in node.names:
            root = alias.name.partition(".")[0]
            self._bind(alias.asname or root, Binding(How.IMPORT, path=alias.name if alias.asname else root))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports.append(Imported(node, self._scope))
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name != "*":
                self._bind(alias.asname or alias.name, Binding(How.IMPORT, path=f"{module}.{alias.name}"))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id, Binding(How.OTHER))
        else:
            self.uses.append(Use(node, self._scope, self._quoted))
            if isinstance(node.ctx, ast.Del):
                self._bind(node.id, Binding(How.OTHER))

    def visit_Constant(self, node: ast.Constant) -> None:
        if self._annotation and not self._quoted and isinstance(node.value, str):
            try:
                tree = ast.parse(node.value.strip(), mode="eval")
            except (SyntaxError, ValueError):
                return
            self._trees.append(tree)
            self._add_parents(tree)
            self._quoted = True
            self.visit(tree.body)
            self._quoted = False

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._bind_target(target, Binding(How.ASSIGN, node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        self._bind_target(node.target, Binding(How.ASSIGN, node.value))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        scope = self._scope
        while isinstance(scope.node, Comprehension) and scope.parent is not None:
            scope = scope.parent
        self._bind(node.target.id, Binding(How.ASSIGN, node.value), scope)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self.uses.append(Use(node.target, self._scope, quoted=False))
        self.visit(node.target)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._bind_target(node.target, Binding(How.LOOP, node.iter))
        self._visit_all([*node.body, *node.orelse])

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, Binding(How.OTHER))
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._bind(node.name, Binding(How.OTHER))
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._bind(node.rest, Binding(How.OTHER))
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.elsewhere.update(dict.fromkeys(node.names, self.module))

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        above = self._scope.parent
        self._scope.elsewhere.update({name: above.owner(name) if above else None for name in node.names})

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._bind(node.name, Binding(How.DEFINE, node))
        self._inside(node, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._bind(node.name, Binding(How.DEFINE, node))
        if node.returns is not None:
            self._visit_annotation(node.returns)
        self._visit_function(node, node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_function(node, node.args, [node.body])

    def visit_ListComp(self, node: Comprehension) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        outer, self._scope = self._scope, self._enter(node)
        for generator in node.generators:
            if generator is not first:
                self.visit(generator.iter)
            self._bind_target(generator.target, Binding(How.LOOP, generator.iter))
            self._visit_all(generator.ifs)
        self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._scope = outer

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815

    def _visit_function(self, node: Function, arguments: ast.arguments, body: Iterable[ast.AST]) -> None:
        self._visit_all([*arguments.defaults, *(default for default in arguments.kw_defaults if default)])
        found = list(_arguments(arguments))
        for argument in found:
            if argument.annotation is not None:
                self._visit_annotation(argument.annotation)
        self._inside(node, body, {each.arg: [Binding(How.ARGUMENT, each.annotation)] for each in found})

    def _visit_annotation(self, node: ast.expr) -> None:
        outer, self._annotation = self._annotation, True
        self.visit(node)
        self._annotation = outer

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _inside(self, node: ast.AST, body: Iterable[ast.AST], bindings: dict[str, list[Binding]] | None = None) -> None:
        outer, self._scope = self._scope, self._enter(node)
        self._scope.bindings.update(bindings or {})
        self._visit_all(body)
        self._scope = outer

    def _enter(self, node: ast.AST) -> Scope:
        scope = Scope(node, self._scope)
        self.scopes.append(scope)
        return scope

    def _bind_target(self, target: ast.expr, binding: Binding) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, binding)
        else:
            self.visit(target)

    def _bind(self, name: str, binding: Binding, scope: Scope | None = None) -> None:
        scope = scope or self._scope
        scope = scope.elsewhere.get(name) or scope
        scope.bindings.setdefault(name, []).append(binding)

    def _add_parents(self, tree: ast.AST) -> None:
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                self.parents[id(child)] = node


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    yield from (extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None)
