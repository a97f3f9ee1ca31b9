"""How each import of a name of Tethys changes: the edits of the text, and what has to stay."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.names import MODULE, MODULES, NEW, PACKAGE, is_shared, match
from prefect_jobs.tethys.move.scopes import How, Import, Scope, Use
from prefect_jobs.tethys.move.source import Edit
from prefect_jobs.tethys.move.statements import aliases_text, cannot_split, from_edit, split_edit


@dataclass(frozen=True)
class Rewritten:
    """An import that is rewritten: the statement, and what is written instead."""

    node: Import
    write: str


@dataclass(frozen=True)
class Left:
    """An import that has to be rewritten by a person: why, and what to write."""

    node: Import
    reason: str
    write: str


@dataclass(frozen=True)
class Staying:
    """Names that are still imported from where they were."""

    node: Import
    module: str
    names: tuple[str, ...]


@dataclass
class Plan:
    """What happens to the imports of a file."""

    edits: list[Edit] = field(default_factory=list)
    rewritten: list[Rewritten] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    staying: list[Staying] = field(default_factory=list)


def plan(code: Code) -> Plan:
    """What happens to the imports of a file."""
    return _Planner(code).plan


class _Planner:
    def __init__(self, code: Code) -> None:
        self._code = code
        self._source = code.source
        self.plan = Plan()
        for imported in code.names.imports:
            if isinstance(imported.node, ast.Import):
                self._plan_import(imported.node, imported.scope)
            elif imported.node.level == 0 and imported.node.names[0].name != "*":
                self._plan_from(imported.node, imported.node.module or "", imported.scope)
        self._plan_stars()

    # from … import …

    def _plan_from(self, node: ast.ImportFrom, module: str, scope: Scope) -> None:
        modules = [alias for alias in node.names if f"{module}.{alias.name}" in MODULES]
        known = [alias for alias in node.names if alias not in modules and alias.name in MODULES.get(module, ())]
        edits: list[Edit] = []
        for alias in list(modules):
            reason, changes = self._uses(alias.asname or alias.name, f"{module}.{alias.name}", scope)
            edits += changes
            if reason:
                modules.remove(alias)
                self._leave(node, reason, f"from {PACKAGE} import {_as_module(alias)}")
        staying = [alias for alias in node.names if alias not in modules and alias not in known]
        unknown = [alias for alias in staying if f"{module}.{alias.name}" not in MODULES]
        if module in MODULES and unknown:
            self.plan.staying.append(Staying(node, module, tuple(alias.name for alias in unknown)))
        if not known and not modules:
            return
        parts = [f"from {module} import {aliases_text(staying)}"] if staying else []
        parts += [f"from {NEW} import {aliases_text(known)}"] if known else []
        parts += [f"from {PACKAGE} import {', '.join(map(_as_module, modules))}"] if modules else []
        self._replace_from(node, parts, modules, edits)

    def _replace_from(
        self, node: ast.ImportFrom, parts: list[str], modules: list[ast.alias], edits: list[Edit]
    ) -> None:
        whole = len(parts) == 1
        write = "; ".join(parts)
        if not whole and (reason := cannot_split(self._source, node)):
            self._leave(node, reason, write)
            return
        if whole:
            edits = [*edits, from_edit(self._source, node, PACKAGE if modules else NEW)]
            edits += [self._edit(alias, _as_module(alias)) for alias in modules]
        else:
            edits = [*edits, split_edit(self._source, node, parts)]
        self._add(edits)
        self.plan.rewritten.append(Rewritten(node, write))

    # import …

    def _plan_import(self, node: ast.Import, scope: Scope) -> None:
        written: list[str] = []
        for position, alias in enumerate(node.names):
            if alias.name not in MODULES:
                continue
            text = f"{NEW} as {alias.asname}" if alias.asname else NEW
            if alias.asname:
                reason, edits = self._uses(alias.asname, alias.name, scope)
            else:
                reason, edits = self._dotted_uses(alias.name.partition(".")[0], scope)
            if reason:
                self._leave(node, reason, f"import {text}")
                continue
            if text in written:  # the same module twice
                start = self._source.end(node.names[position - 1])
                edits = [*edits, Edit(start, self._source.end(alias), "")]
            else:
                edits = [*edits, self._edit(alias, text)]
                written.append(text)
            self._add(edits)
        if written:
            self.plan.rewritten.append(Rewritten(node, f"import {', '.join(written)}"))

    def _uses(self, name: str, module: str, scope: Scope) -> tuple[str, list[Edit]]:
        """Why a name that means a module cannot mean ours, or else what changes where it is used."""
        edits: list[Edit] = []
        for use in self._code.names.uses_of(name, _owner(name, scope)):
            chain, path = self._code.names.chain(use.node)
            found = match(module + path)
            if not path and not is_shared(module):
                continue
            if found is None or found.name is None:
                return f"{NEW} has no {name}{path}" if path else f"{name} is used as a value", []
            new = ".".join([name, found.name, *found.rest])
            if new != f"{name}{path}":
                if self._is_complex(chain, use):
                    return f"{name}{path} is not in one line", []
                edits.append(self._edit(chain, new))
        return "", edits

    def _dotted_uses(self, root: str, scope: Scope) -> tuple[str, list[Edit]]:
        """The same of a module that is used by its full path."""
        owner = _owner(root, scope)
        if any(each.how is not How.IMPORT or each.path != root for each in owner.bindings.get(root, [])):
            return f"{root} has other values, too", []
        if self._is_taken(owner):
            return f"{PACKAGE} is another name here", []
        others = [name for name in self._plain_imports(owner) if name not in MODULES]
        edits: list[Edit] = []
        for use in self._code.names.uses_of(root, owner):
            chain, path = self._code.names.chain(use.node)
            found = match(root + path)
            if found is not None and found.name is not None and not self._is_complex(chain, use):
                edits.append(self._edit(chain, ".".join([NEW, found.name, *found.rest])))
            elif not any(f"{root}{path}.".startswith(f"{name}.") for name in others):
                return f"{root}{path} is used" + (" in a string" if use.quoted else ""), []
        return "", edits

    def _plain_imports(self, owner: Scope) -> Iterator[str]:
        for imported in self._code.names.imports:
            if isinstance(imported.node, ast.Import):
                for alias in imported.node.names:
                    if alias.asname is None and _owner(alias.name.partition(".")[0], imported.scope) is owner:
                        yield alias.name

    def _is_taken(self, owner: Scope) -> bool:
        bound = [(scope, each) for scope in self._code.names.scopes for each in scope.bindings.get(PACKAGE, [])]
        return any(scope is not owner or each.path != PACKAGE for scope, each in bound)

    def _is_complex(self, chain: ast.expr, use: Use) -> bool:
        """Whether a chain of attributes has more than one line, or does not stand in the text as it is."""
        return (
            use.quoted
            or "".join(self._source.part(chain).split()) != ast.unparse(chain)
            or _has_break(self._source.part(chain))
        )

    # from … import *

    def _plan_stars(self) -> None:
        stars = [
            (imported.node, imported.node.module or "")
            for imported in self._code.names.imports
            if isinstance(imported.node, ast.ImportFrom) and imported.node.names[0].name == "*"
            if imported.node.level == 0 and imported.node.module in MODULES
        ]
        used = list(dict.fromkeys(use.node.id for use in self._code.unbound()))
        reason = self._undecided(used, [module for _, module in stars])
        for node, module in sorted(stars, key=lambda star: len(MODULES[star[1]])):
            names = sorted(name for name in used if name in MODULES[module])
            if reason or not names:
                self._leave(node, reason or "none of its names is used", f"from {NEW} import …, or nothing")
                continue
            used = [name for name in used if name not in names]
            star = node.names[0]
            self._add([from_edit(self._source, node, NEW), self._edit(star, ", ".join(names))])
            self.plan.rewritten.append(Rewritten(node, f"from {NEW} import {', '.join(names)}"))

    def _undecided(self, used: list[str], modules: list[str]) -> str:
        if self._source.path.name == "__init__.py":
            return "other modules may import its names from here"
        if len(modules) != len(self._code.stars):
            return "other modules' names are all imported, too"
        for name in ("eval", "exec", "globals", "locals", "vars", "__all__"):
            if any(isinstance(node, ast.Name) and node.id == name for node in self._code.nodes):
                return f"{name} is used"
        known = {name for module in modules for name in MODULES[module]}
        unknown = [name for name in used if name not in known]
        return f"it is unclear where {', '.join(unknown)} come from" if unknown else ""

    def _edit(self, node: ast.alias | ast.expr, text: str) -> Edit:
        return Edit(self._source.start(node), self._source.end(node), text)

    def _add(self, edits: list[Edit]) -> None:
        # two imports of the same name change the same uses
        self.plan.edits += [edit for edit in edits if edit not in self.plan.edits]

    def _leave(self, node: Import, reason: str, write: str) -> None:
        self.plan.left.append(Left(node, reason, write))


def _owner(name: str, scope: Scope) -> Scope:
    return scope.owner(name) or scope


def _as_module(alias: ast.alias) -> str:
    return f"{MODULE} as {alias.asname or alias.name}"


def _has_break(text: str) -> bool:
    return any(character in text for character in "\r\n#")
