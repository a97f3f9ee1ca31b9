"""``check``: what of an app will work, what will not, and what to write instead."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.imports import plan
from prefect_jobs.tethys.move.kinds import Kinds
from prefect_jobs.tethys.move.reading import App, Problem
from prefect_jobs.tethys.move.rules.calls import check_calls
from prefect_jobs.tethys.move.rules.classes import check_classes
from prefect_jobs.tethys.move.rules.finding import Finding, Verdict
from prefect_jobs.tethys.move.rules.imports import check_imports
from prefect_jobs.tethys.move.rules.queries import check_queries
from prefect_jobs.tethys.move.rules.strings import check_strings
from prefect_jobs.tethys.move.rules.templates import gizmos, table_names

#: The most characters of a line that are shown.
_WIDTH = 100


@dataclass(frozen=True)
class Line:
    """A finding, and where it is."""

    path: Path
    line: int
    column: int
    code: str
    verdict: Verdict
    message: str
    write: str


@dataclass
class Check:
    """What was found in an app."""

    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    files: int = 0

    def count(self, verdict: Verdict) -> int:
        """How many findings have this verdict."""
        return sum(line.verdict is verdict for line in self.lines)

    @property
    def status(self) -> int:
        """The exit status: 1 if something will not work, or could not be read."""
        return 1 if self.problems or self.count(Verdict.FAILS) else 0


def check(path: Path) -> Check:
    """Reads an app and says what of it will work.

    Raises:
        NoPython: there is no Python file.
    """
    app, lines, tables = App(path), list[Line](), set[str]()
    for code in app.read():
        try:
            lines += check_code(code)
        except RecursionError:
            app.problems.append(Problem(code.source.path, 0, "cannot be checked: it is nested too deeply"))
        tables |= table_names(code)
    for template in app.templates:
        lines += _check_template(template, tables)
    return Check(lines, app.problems, app.files)


def check_code(code: Code) -> list[Line]:
    """What is found in one file, in the order of its lines."""
    lines = dict.fromkeys(_line(code, finding) for finding in _findings(code))
    return sorted(lines, key=lambda line: (line.line, line.column))


def _check_template(path: Path, tables: set[str]) -> Iterator[Line]:
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return
    for gizmo in gizmos(text):
        if gizmo.name in tables:
            message, write = f"the tag shows gizmos of the portal, and {gizmo.name} is a JobsTable", gizmo.write
            yield Line(path, gizmo.line, gizmo.column, _gist(gizmo.tag), Verdict.FAILS, message, write)


def _findings(code: Code) -> Iterator[Finding]:
    kinds = Kinds(code)
    yield from check_imports(code, plan(code))
    yield from check_strings(code)
    yield from check_classes(code, kinds)
    yield from check_queries(code, kinds)
    yield from check_calls(code, kinds)


def _line(code: Code, finding: Finding) -> Line:
    source, node = code.source, finding.node
    gist = _gist(source.lines[node.lineno - 1])
    return Line(source.path, node.lineno, source.column(node), gist, finding.verdict, finding.message, finding.write)


def _gist(text: str) -> str:
    """A line as it is shown: without blanks and control characters that would disturb, and not too long."""
    shown = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    return shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 1]}…"
