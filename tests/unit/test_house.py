"""The house stays as docs/architecture.md has it: small parts, no circles, nothing private read from outside."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
#: The code that is installed; ``flows`` and ``blocks`` are real folders beside the package, which links to them.
CODE = [ROOT / "prefect_jobs", ROOT / "flows", ROOT / "blocks"]
LINKS = (ROOT / "prefect_jobs" / "flows", ROOT / "prefect_jobs" / "blocks")
LINES, FUNCTION_LINES = 400, 60
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


def private_reads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Reads of names with an underscore of something that is not ``self``, ``cls`` or ``super()``: line and name."""
    methods = {
        id(node)
        for cls in ast.walk(tree)
        if isinstance(cls, ast.ClassDef)
        for method in cls.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(method)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls") and id(node) in methods
            above = isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "super"
            if not own and not above:
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            named = node.args[1] if len(node.args) > 1 else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str) and private(named.value):
                yield node.lineno, named.value


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("path", python_files(*CODE), ids=name)
def test_no_private_name_is_read_from_outside(path: Path) -> None:
    tree = ast.parse(path.read_text())
    allowed = FOREIGN.get(name(path), set())
    assert [f"line {line}: {read}" for line, read in private_reads(tree) if read not in allowed] == []
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [alias.name for node in imports for alias in node.names if private(alias.name)] == []
    # a private module is for its own package
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in imports:
        above, _, module = (node.module or "").rpartition(".")
        assert not private(module) or above.removeprefix("prefect_jobs.") == package.replace("prefect_jobs.", "")


def test_private_reads_are_found_wherever_they_hide() -> None:
    code = """
def outside(self, other):
    self._a, other._b, getattr(other, "_c"), other.__class__
class Inside:
    def method(self, other):
        self._d, super()._e, other._f
"""
    assert sorted(read for _, read in private_reads(ast.parse(code))) == ["_a", "_b", "_c", "_f"]


def test_names_of_modules_in_strings_stand_where_they_must() -> None:
    """import-linter does not see an import by a string, so only those that name the parts of others may have one."""
    found = {
        name(path)
        for path in python_files(*CODE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"prefect_jobs(\.\w+)+:\w+", node.value) and not node.value.startswith("prefect_jobs.flows.")
    }
    assert found == {"prefect_jobs/jobs/registry.py"}


@pytest.mark.parametrize("path", python_files(*CODE, ROOT / "tests", ROOT / "benchmarks", ROOT / "scripts"), ids=name)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES, f"split it: it has more than {LINES} lines"
    if path.is_relative_to(HISTORY):
        return
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node.name, (node.end_lineno or 0) - first_line(node) + 1) for node in functions]
    assert [each for each in lengths if each[1] > FUNCTION_LINES] == []


def first_line(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("prefect_jobs", exclude_type_checking_imports=False, cache_dir=None)
    # The package itself only names where things are; it loads them when they are first used.
    modules = graph.modules - {"prefect_jobs"}
    imports = {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}
    while free := {module for module, imported in imports.items() if not imported & imports.keys()}:
        for module in free:
            del imports[module]
    assert sorted(imports) == [], "these are in a circle, or import one that is"
