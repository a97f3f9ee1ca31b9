"""Finds the Python files of an app."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

#: Folders that hold no code of an app.
_SKIPPED = frozenset({"__pycache__", ".git", ".hg", ".svn", "node_modules", ".tox", ".nox", ".mypy_cache", ".eggs"})
#: What a virtual environment, of Python or of conda, has in it.
_ENVIRONMENTS = frozenset({"pyvenv.cfg", "conda-meta"})
_SUFFIX, _TEMPLATE = ".py", ".html"


@dataclass
class Walk:
    """The Python files and the templates below a path, each once, and the paths that could not be read."""

    files: list[Path] = field(default_factory=list)
    templates: list[Path] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    _folders: set[tuple[int, int]] = field(default_factory=set)
    _files: set[Path] = field(default_factory=set)

    def add(self, path: Path) -> None:
        """Adds a file, or all of a folder. Links are followed, each target once."""
        try:
            status = path.stat()
        except OSError as error:
            self._add_problem(path, error)
            return
        if stat.S_ISDIR(status.st_mode):
            self._add_folder(path, (status.st_dev, status.st_ino))
        elif stat.S_ISREG(status.st_mode) and path.resolve() not in self._files:
            self._files.add(path.resolve())
            if path.suffix == _SUFFIX:
                self.files.append(path)
            elif path.suffix == _TEMPLATE:
                self.templates.append(path)

    def _add_folder(self, folder: Path, identity: tuple[int, int]) -> None:
        first = not self._folders
        if identity in self._folders:
            return
        self._folders.add(identity)
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            self.problems.append((folder, error.strerror or str(error)))
            return
        if first or not _ENVIRONMENTS.intersection(names):
            for name in names:
                if name not in _SKIPPED:
                    self.add(folder / name)

    def _add_problem(self, path: Path, error: OSError) -> None:
        # an editor's lock is a link that leads nowhere
        if path.suffix == _SUFFIX and not path.name.startswith(".#"):
            broken = isinstance(error, FileNotFoundError) and path.is_symlink()
            self.problems.append((path, "the link leads nowhere" if broken else error.strerror or str(error)))


def walk(path: Path) -> Walk:
    """The Python files of a path: the file itself, or those of the folder, in the order of their names."""
    found = Walk()
    found.add(path)
    return found
