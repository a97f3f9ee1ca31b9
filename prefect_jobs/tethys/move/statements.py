"""The text of import statements."""

import ast
import re

from prefect_jobs.tethys.move.source import Edit, Source

#: The longest line that is written in one piece.
_WIDTH = 88
_INDENT = "    "
#: What an import statement is made of. It has no strings.
_TOKEN = re.compile(r"(?P<comment>#[^\r\n]*)|(?P<space>\s+|\\(?:\r\n|\r|\n))|(?P<word>[^\W\d]\w*|[.,()*])")


def aliases_text(aliases: list[ast.alias]) -> str:
    """Names as an import statement has them."""
    return ", ".join(_alias_text(alias) for alias in aliases)


def from_edit(source: Source, node: ast.ImportFrom, module: str) -> Edit:
    """The change that puts another module after ``from``."""
    start = source.start(node)
    words = [match for match in _TOKEN.finditer(source.part(node)) if match["word"]]
    last = next(index for index, match in enumerate(words) if match["word"] == "import") - 1
    return Edit(start + words[1].start(), start + words[last].end(), module)


def cannot_split(source: Source, node: ast.ImportFrom) -> str:
    """Why a statement cannot be written as several; empty if it can."""
    if any(match["comment"] for match in _TOKEN.finditer(source.part(node))):
        return "a comment stands between its names"
    return ""


def split_edit(source: Source, node: ast.ImportFrom, statements: list[str]) -> Edit:
    """The change that writes several statements instead of one."""
    before = source.text[source.line_start(node) : source.start(node)]
    text = "; ".join(statements)
    if _stands_alone(source, node, before):
        newline = source.newline(node)
        text = f"{newline}{before}".join(_laid_out(statement, before, newline) for statement in statements)
    return Edit(source.start(node), source.end(node), text)


def _stands_alone(source: Source, node: ast.ImportFrom, before: str) -> bool:
    """Whether nothing else is in the lines of a statement."""
    above = source.text[: source.line_start(node)].rstrip("\r\n")
    rest = source.rest_of_line(node).strip()
    return not before.strip() and not above.endswith("\\") and (not rest or rest.startswith("#"))


def _laid_out(statement: str, indent: str, newline: str) -> str:
    if len(indent) + len(statement) <= _WIDTH:
        return statement
    head, names = statement.split(" import ")
    lines = "".join(f"{indent}{_INDENT}{name},{newline}" for name in names.split(", "))
    return f"{head} import ({newline}{lines}{indent})"


def _alias_text(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name
