"""The house stays as docs/architecture.md has it: small parts, no circles, nothing private read from outside."""

import ast
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


def private_reads(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Accesses to names with an underscore of something that is not ``self``, ``cls`` or ``super()``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id in ("self", "cls"):
            continue
        if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "super":
            continue
        yield node


@pytest.mark.parametrize("path", python_files(*CODE), ids=name)
def test_no_private_name_is_read_from_outside(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [f"line {read.lineno}: {read.attr}" for read in private_reads(tree)]
    allowed = FOREIGN.get(name(path), set())
    assert [read for read in found if read.rpartition(" ")[2] not in allowed] == []
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [each for each in imported if each.startswith("_") and not each.startswith("__")] == []


@pytest.mark.parametrize("path", python_files(*CODE, ROOT / "tests", ROOT / "benchmarks", ROOT / "scripts"), ids=name)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES, f"split it: it has more than {LINES} lines"
    if path.is_relative_to(HISTORY):
        return
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert {each: length for each, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("prefect_jobs", exclude_type_checking_imports=False, cache_dir=None)
    # The package itself only names where things are; it loads them when they are first used.
    modules = graph.modules - {"prefect_jobs"}
    imports = {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}
    while free := {module for module, imported in imports.items() if not imported & imports.keys()}:
        for module in free:
            del imports[module]
    assert sorted(imports) == [], "these are in a circle, or import one that is"
