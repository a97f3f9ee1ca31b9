"""Names of Tethys in strings: rewrite leaves strings alone."""

import ast
import re
from collections.abc import Iterator

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.names import MODULES, NEW, is_shared, match
from prefect_jobs.tethys.move.rules.finding import Finding, changes, fails

_PATH = re.compile(r"tethys_\w+(?:\.\w+)+(?::\w+)?")


def check_strings(code: Code) -> Iterator[Finding]:
    """Strings that name something of Tethys by its path."""
    ignored = {id(part) for node in code.nodes for part in _ignored(node)}
    for node in code.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in ignored:
            text = node.value
            found = match(text.replace(":", ".")) if _PATH.fullmatch(text) else None
            if found is None:
                continue
            if found.name is not None or not found.rest:
                new = NEW + text[len(found.module) :]
                only = f"; it has {', '.join(sorted(MODULES[found.module]))}" if _is_part(found.module, text) else ""
                yield changes(node, f"change this string by hand{only}", f'"{new}"')
            elif not is_shared(found.module):
                yield fails(node, f"{NEW} has no {'.'.join(found.rest)}")


def _is_part(module: str, text: str) -> bool:
    return module == text and is_shared(module)


def _ignored(node: ast.AST) -> list[ast.expr]:
    """Strings that are no names: documentation, parts of longer strings, names of loggers."""
    match node:
        case ast.Expr():
            return [node.value]
        case ast.JoinedStr():
            return node.values
        case ast.Call(func=ast.Attribute(attr="getLogger") | ast.Name(id="getLogger")):
            return node.args
    return []
