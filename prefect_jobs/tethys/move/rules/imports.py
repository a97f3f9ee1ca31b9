"""Imports: which are rewritten, which names are not here, and what stays with the portal."""

import ast
from collections.abc import Iterator

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.imports import Plan
from prefect_jobs.tethys.move.names import KNOWN, MODULES, NEW, TEMPLATES, is_portal, is_shared, match
from prefect_jobs.tethys.move.rules.finding import Finding, changes, fails, works

CREATE_JOB = "job_manager.create_job(name, user, job_type=…, …)"
_STAYS = "not covered: stays with the portal"


def check_imports(code: Code, plan: Plan) -> Iterator[Finding]:
    """What to say of the imports of a file."""
    for rewritten in plan.rewritten:
        yield changes(rewritten.node, "rewrite changes this import", rewritten.write)
    for left in plan.left:
        yield changes(left.node, f"change this import by hand: {left.reason}", left.write)
    for staying in plan.staying:
        for name in staying.names:
            yield _missing(staying.node, staying.module, name)
    for imported in code.names.imports:
        node = imported.node
        for alias in node.names:
            module = alias.name if isinstance(node, ast.Import) else node.module or ""
            if isinstance(node, ast.ImportFrom) and node.level:
                continue
            if isinstance(node, ast.ImportFrom) and module == NEW and alias.name not in {*KNOWN, "*"}:
                yield _missing(node, module, alias.name)
            elif module not in MODULES and is_portal(module) and not _leads_on(node, alias):
                yield works(node, f"{_STAYS}: {_path(node, alias)}")
    yield from _check_uses(code)


def _check_uses(code: Code) -> Iterator[Finding]:
    """Names that are used as attributes of a module that has no such name here."""
    for use in code.names.uses:
        chain, _ = code.names.chain(use.node)
        found = match(code.imported_path(chain))
        if found is not None and found.name is None and found.rest and not use.quoted:
            yield _missing(chain, found.module, found.rest[0])


def _missing(node: ast.stmt | ast.expr, module: str, name: str) -> Finding:
    if name in TEMPLATES:
        return fails(node, f"{name}: there are no job templates", CREATE_JOB)
    if is_shared(module):
        return works(node, f"{_STAYS}: {module}.{name}")
    return fails(node, f"{NEW} has no {name}")


def _leads_on(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> bool:
    """Whether an import only leads to a module of the table, which is found by itself."""
    path = _path(node, alias)
    return path in MODULES or (isinstance(node, ast.Import) and any(each.startswith(f"{path}.") for each in MODULES))


def _path(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    return alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
