"""The house stays as docs/architecture.md has it: small parts, no circles, nothing private read from outside."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
#: The code that is installed; ``flows`` and ``blocks`` are real folders beside the package, which links to them.
CODE = [ROOT / "prefect_jobs", ROOT / "flows", ROOT / "blocks"]
LINKS = (ROOT / "prefect_jobs" / "flows", ROOT / "prefect_jobs" / "blocks")
LINES, FUNCTION_LINES = 400, 60
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
#: Applied migrations are history: they are never edited.
HISTORY = ROOT / "prefect_jobs" / "store" / "migrations" / "versions"
#: Private names of other libraries that have no public way, each used in one place.
FOREIGN = {
    "prefect_jobs/cli/monitor.py": {"_exit"},  # os._exit: ends without waiting for threads
    "prefect_jobs/local/temporary_server.py": {"_run_uvicorn_command", "_instances"},  # Prefect's temporary server
    "prefect_jobs/schedulers/dask/connection.py": {"_children", "_instances"},  # a fork's view of its parent's workers
}


def python_files(*folders: Path) -> list[Path]:
    found = (path for folder in folders for path in folder.rglob("*.py"))
    return sorted(path for path in found if not any(path.is_relative_to(link) for link in LINKS))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Facts:
    """What tests ask of a file: to parse it for each of them would take most of their time."""

    lines: int
    #: Names and lengths.
    functions: Sequence[tuple[str, int]]
    private_reads: Sequence[tuple[int, str]]
    #: Modules, and the names that are imported from them.
    imports: Sequence[tuple[str, Sequence[str]]]
    modules_in_strings: Sequence[str]


@cache
def facts(path: Path) -> Facts:
    text = path.read_text()
    tree = ast.parse(text)
    # In code that is not installed, only the functions are of interest.
    nodes = list(ast.walk(tree)) if any(path.is_relative_to(folder) for folder in CODE) else []
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return Facts(
        lines=len(text.splitlines()),
        functions=[(node.name, len(lines_of(node))) for node in statements(tree) if isinstance(node, FUNCTION)],
        private_reads=list(private_reads(nodes)),
        imports=[(node.module or "", [alias.name for alias in node.names]) for node in imports],
        modules_in_strings=[value for value in strings if re.fullmatch(r"prefect_jobs(\.\w+)+:\w+", value)],
    )


def statements(tree: ast.AST) -> list[ast.AST]:
    """A tree and all statements in it, which are a small part of its nodes; with the parts that have statements."""
    found = [tree]
    for node in found:
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            part = getattr(node, field, ())
            found += part if isinstance(part, list) else ()
    return found


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    """Its lines, those of its decorators as well."""
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return range(first, (function.end_lineno or 0) + 1)


def private_reads(nodes: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """Reads of names with an underscore of something that is not ``self``, ``cls`` or ``super()``: line and name."""
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    methods = [lines_of(method) for cls in classes for method in cls.body if isinstance(method, FUNCTION)]
    for node in nodes:
        if isinstance(node, ast.Attribute) and private(node.attr):
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            above = isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "super"
            if not above and not (own and any(node.lineno in lines for lines in methods)):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            named = node.args[1] if len(node.args) > 1 else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str) and private(named.value):
                yield node.lineno, named.value


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("path", python_files(*CODE), ids=name)
def test_no_private_name_is_read_from_outside(path: Path) -> None:
    found = facts(path)
    allowed = FOREIGN.get(name(path), set())
    assert [f"line {line}: {read}" for line, read in found.private_reads if read not in allowed] == []
    assert [name for _, names in found.imports for name in names if private(name)] == []
    # a private module is for its own package
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for imported, _ in found.imports:
        above, _, module = imported.rpartition(".")
        assert not private(module) or above.removeprefix("prefect_jobs.") == package.replace("prefect_jobs.", "")


def test_private_reads_are_found_wherever_they_hide() -> None:
    code = """
def outside(self, other):
    self._a, other._b, getattr(other, "_c"), other.__class__
class Inside:
    def method(self, other):
        self._d, super()._e, other._f
"""
    assert sorted(read for _, read in private_reads(list(ast.walk(ast.parse(code))))) == ["_a", "_b", "_c", "_f"]


def test_names_of_modules_in_strings_stand_where_they_must() -> None:
    """import-linter does not see an import by a string, so only those that name the parts of others may have one."""
    found = {
        name(path)
        for path in python_files(*CODE)
        for named in facts(path).modules_in_strings
        if not named.startswith("prefect_jobs.flows.")
    }
    assert found == {"prefect_jobs/jobs/registry.py"}


@pytest.mark.parametrize("path", python_files(*CODE, ROOT / "tests", ROOT / "benchmarks", ROOT / "scripts"), ids=name)
def test_files_and_functions_are_small(path: Path) -> None:
    found = facts(path)
    assert found.lines <= LINES, f"split it: it has more than {LINES} lines"
    if not path.is_relative_to(HISTORY):
        assert [each for each in found.functions if each[1] > FUNCTION_LINES] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("prefect_jobs", exclude_type_checking_imports=False, cache_dir=None)
    # The package itself only names where things are; it loads them when they are first used.
    modules = graph.modules - {"prefect_jobs"}
    imports = {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}
    while free := {module for module, imported in imports.items() if not imported & imports.keys()}:
        for module in free:
            del imports[module]
    assert sorted(imports) == [], "these are in a circle, or import one that is"
