"""``rewrite``: changes the imports of an app."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.imports import Left, Plan, Staying, plan
from prefect_jobs.tethys.move.reading import App, Problem
from prefect_jobs.tethys.move.source import NotReadable, parsed, replace_file

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_NO_NEWLINE = "\n\\ No newline at end of file\n"


@dataclass(frozen=True)
class Changed:
    """A file whose imports are rewritten: how many, and the difference."""

    path: Path
    imports: int
    diff: str


@dataclass(frozen=True)
class Remark:
    """An import that is left to a person, or names that stay where they were."""

    path: Path
    line: int
    message: str


@dataclass
class Rewrite:
    """What was rewritten.

    Attributes:
        left: imports that a person has to change.
        staying: names that are still imported from Tethys.
    """

    changed: list[Changed] = field(default_factory=list)
    left: list[Remark] = field(default_factory=list)
    staying: list[Remark] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    files: int = 0

    @property
    def imports(self) -> int:
        """How many imports were rewritten."""
        return sum(changed.imports for changed in self.changed)

    @property
    def status(self) -> int:
        """The exit status: 1 if a file or an import is left."""
        return 1 if self.problems or self.left else 0


def rewrite(path: Path, *, write: bool) -> Rewrite:
    """Rewrites the imports of an app.

    Args:
        path: a file or a folder.
        write: change the files; else only the differences are made.

    Raises:
        NoPython: there is no Python file.
    """
    app, result = App(path), Rewrite()
    for code in app.read():
        try:
            _rewrite_file(code, result, write=write)
        except OSError as error:
            app.problems.append(Problem(code.source.path, 0, f"cannot be written: {error.strerror or error}"))
        except NotReadable as error:
            message = f"is left: its imports would be wrong after a rewrite: {error}"
            app.problems.append(Problem(code.source.path, error.line, message))
    result.files, result.problems = app.files, app.problems
    return result


def rewritten(code: Code, made: Plan) -> str:
    """The text of a file after a plan.

    Raises:
        NotReadable: it would not be Python any more.
    """
    text = code.source.edited(made.edits)
    parsed(text)
    return text


def _rewrite_file(code: Code, result: Rewrite, *, write: bool) -> None:
    made, source = plan(code), code.source
    text = rewritten(code, made)
    if text != source.text:
        if write:
            replace_file(source.path, source.encoded(text))
        diff = "".join(_diff(str(source.path), source.text, text))
        result.changed.append(Changed(source.path, len(made.rewritten), diff))
    result.left += [Remark(source.path, left.node.lineno, _left(left)) for left in made.left]
    result.staying += [Remark(source.path, staying.node.lineno, _staying(staying)) for staying in made.staying]


def _diff(name: str, before: str, after: str) -> Iterator[str]:
    for line in difflib.unified_diff(_LINE.findall(before), _LINE.findall(after), name, name):
        yield line if line.endswith("\n") else f"{line}{_NO_NEWLINE}"


def _left(left: Left) -> str:
    return f"change this import by hand: {left.reason}. Write: {left.write}"


def _staying(staying: Staying) -> str:
    return f"{', '.join(staying.names)}: still imported from {staying.module}"
