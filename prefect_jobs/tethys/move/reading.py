"""Reads the Python files of an app, and names those that cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.files import walk
from prefect_jobs.tethys.move.source import NotReadable, Source


class NoPython(Exception):
    """A path that does not exist, or has no Python file."""


@dataclass(frozen=True)
class Problem:
    """A file that cannot be read, parsed or written; ``line`` is 0 if that does not matter."""

    path: Path
    line: int
    message: str


@dataclass
class App:
    """The files of an app.

    Attributes:
        files: how many were read.
        templates: paths of the templates.
        problems: what could not be read.
    """

    path: Path
    files: int = 0
    templates: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read(self) -> Iterator[Code]:
        """Reads one file after the other.

        Raises:
            NoPython: there is none.
        """
        if not self.path.exists():
            raise NoPython(f"{self.path} does not exist.")
        found = walk(self.path)
        if not found.files and not found.problems:
            raise NoPython(f"{self.path} has no Python file.")
        self.templates = found.templates
        self.problems += [Problem(path, 0, f"cannot be read: {reason}") for path, reason in found.problems]
        for path in found.files:
            try:
                code = Code(Source(path, path.read_bytes()))
            except NotReadable as error:
                self.problems.append(Problem(path, error.line, f"cannot be parsed: {error}"))
            except RecursionError:
                self.problems.append(Problem(path, 0, "cannot be parsed: it is nested too deeply"))
            except OSError as error:
                self.problems.append(Problem(path, 0, f"cannot be read: {error.strerror or error}"))
            else:
                self.files += 1
                yield code
