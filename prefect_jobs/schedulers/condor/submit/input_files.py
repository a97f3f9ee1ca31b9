"""The local files that a job names: found, checked, and written in HTCondor's form of paths and lists of files."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

#: Characters at which HTCondor splits lists of files; no quoting helps (tried with 23.9 and 25.14).
SEPARATORS = re.compile(r"[,\s]", re.ASCII)
URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
#: Macros that are the number of the proc, in paths of files of which each proc has its own.
_NUMBERS = ("process", "procid", "step")
_MACRO = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.]*)(?::([^()]*))?\)")


class DescriptionError(ValueError):
    """The job cannot be described to HTCondor; the message says what to change."""


def items(given: Any) -> list[str]:
    """A list of files, from a text or a list."""
    if given is None:
        return []
    if isinstance(given, str):
        return [item for item in (part.strip() for part in given.split(",")) if item]
    if isinstance(given, os.PathLike):
        given = [given]
    if isinstance(given, Iterable) and not isinstance(given, bytes | Mapping):
        found = [os.fspath(item) if isinstance(item, str | os.PathLike) else item for item in given]
        if all(isinstance(item, str) for item in found):
            return [item for item in found if item.strip()]  # an unset field of a form is no file
    raise DescriptionError(f"A list of files is needed, not {given!r}.")


def expand(text: str, macros: Mapping[str, str]) -> str:
    """The text with the values of macros; ``$(Process)`` and others that only HTCondor knows stay.

    Args:
        macros: name, in lower case → value.
    """
    for _ in range(10):  # a macro may contain macros, and may contain itself
        expanded = _MACRO.sub(lambda found: macros.get(found[1].lower(), found[0]), text)
        if expanded == text:
            break
        text = expanded
    return text


class InputFiles:
    """Finds the local files that a job names, and links those whose path HTCondor would split."""

    def __init__(
        self,
        named: Sequence[str],
        folders: Sequence[Path],
        *,
        links: Callable[[], Path] | None,
        count: int,
        macros: Mapping[str, str],
        items: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """
        Args:
            named: the job's ``remote_input_files``.
            folders: where relative names are searched, in this order.
            links: makes an empty folder for links; called for the first link.
            count: number of procs.
            macros: as for :func:`expand`.
            items: of each proc, values of more macros.

        Raises:
            DescriptionError: one of ``named`` does not exist.
        """
        self._folders = folders
        self._make_links = links
        self._links: Path | None = None
        self._count = count
        self._macros = macros
        own = "|".join([*_NUMBERS, *(re.escape(name) for name in (items[0] if items else ()))])
        #: What differs by proc, and its values for each.
        self._own = re.compile(rf"\$\(({own})\)", re.IGNORECASE)
        self._items = [{name.lower(): value for name, value in item.items()} for item in items]
        self._named: dict[str, Path] = {}
        for given in named:
            path = self._find(given)
            if path is None:
                raise DescriptionError(f"The input file {given!r} (remote_input_files) does not exist.{self._where()}")
            self._named.setdefault(path.name, path)
            self._named.setdefault(given, path)

    def executable(self, given: str) -> tuple[str, Path | None]:
        """The path of the program, in HTCondor's form and as a path."""
        text = expand(given, self._macros)
        if self._items and (own := self._own.search(text)):
            raise DescriptionError(
                f"executable = {given!r}: $({own[1]}) differs by process, and all processes of a job run one program. "
                "Use it in the arguments."
            )
        path = self._look_up(text, "executable")
        if path.is_dir():
            raise DescriptionError(f"The executable {given!r} is a directory. Name the program in it.")
        if not os.access(path, os.R_OK):
            raise DescriptionError(f"The executable {str(path)!r} cannot be read by this process.")
        return literal(path), path

    def standard_input(self, given: str) -> str:
        """The path of the file for standard input."""
        return self._paths(given, "standard input")[0]

    def inputs(self, given: Any, executable: Path | None) -> list[str]:
        """All files to transfer: those of transfer_input_files, then the other remote_input_files."""
        found: dict[str, None] = {}
        sent = {executable}
        whole: dict[str, Path] = {}
        for item in items(given):
            if URL.match(item):
                found[item] = None
                continue
            text, paths = self._paths(item, "transfer_input_files")
            # HTCondor's rule: DIR sends the directory, DIR/ its contents.
            contents = item.endswith("/")
            if contents and not all(path.is_dir() for path in paths):
                raise DescriptionError(f"The input {item!r} ends with a slash but is not a directory.")
            if not contents and len(paths) == 1:
                _check_alone(whole, paths[0])
            found[self._sendable(text, paths, contents)] = None
            sent.update(paths)
        for path in dict.fromkeys(self._named.values()):
            if path not in sent:
                _check_alone(whole, path)
                found[self._sendable(literal(path), [path], False)] = None
        return list(found)

    def _sendable(self, text: str, paths: Sequence[Path], contents: bool) -> str:
        for path in paths:
            if not os.access(path, os.R_OK):
                raise DescriptionError(f"The input file {str(path)!r} cannot be read by this process.")
            split = [child.name for child in path.iterdir() if SEPARATORS.search(child.name)] if contents else []
            if split:
                raise DescriptionError(
                    f"{split[0]!r} in the directory {str(path)!r} has a space or a comma in its name, at which "
                    "HTCondor splits its lists of files. Send the directory itself, without the slash at its end."
                )
            if not contents and SEPARATORS.search(path.name):
                raise DescriptionError(
                    f"The input file {path.name!r} has a space or a comma in its name, at which HTCondor splits its "
                    "lists of files. Rename it, or put it into a directory and send that."
                )
        if SEPARATORS.search(text):
            if len(paths) > 1:
                raise DescriptionError(
                    f"The path {text!r} has a space or a comma in it, at which HTCondor splits its lists of files."
                )
            text = literal(self._link(paths[0], contents))
        return text + "/" if contents else text

    def _link(self, path: Path, contents: bool) -> Path:
        if self._links is None and self._make_links is not None:
            self._links = self._make_links()
        folder = self._links
        if folder is None or SEPARATORS.search(str(folder)):
            raise DescriptionError(
                f"The path {str(path)!r} has a space or a comma in it, at which HTCondor splits its lists of files."
            )
        # For the contents of a directory, a link to it is enough. For a file or a whole directory, the folder above is
        # linked: HTCondor transfers no directory that is itself a link.
        target = path if contents else path.parent
        for number in range(10_000):
            link = folder / str(number)
            if not link.is_symlink():
                link.symlink_to(target)
                return link if contents else link / path.name
        raise DescriptionError("The job has more than 10,000 input files with spaces in their paths.")

    def _paths(self, given: str, what: str) -> tuple[str, list[Path]]:
        """The path in HTCondor's form, and the files: one, or one for each proc."""
        text = expand(given, self._macros)
        if not self._own.search(text):
            path = self._look_up(text, what)
            return literal(path), [path]
        expanded = [self._of_proc(text, number) for number in range(self._count)]
        paths = [self._look_up(each, what) for each in expanded]
        for each in expanded:
            if self._items and SEPARATORS.search(each):
                raise DescriptionError(
                    f"The path {each!r} ({what}) has a space or a comma in it, at which HTCondor splits its lists."
                )
        if all(PurePosixPath(each).is_absolute() for each in expanded):
            return text, paths
        parts = PurePosixPath(text).parts
        first = next(index for index, part in enumerate(parts) if self._own.search(part))
        below = [PurePosixPath(each).parts[first:] for each in expanded]  # a value may have folders
        folders = {path.parents[len(each) - 1] for path, each in zip(paths, below, strict=True)}
        if len(folders) > 1 or any(".." in each for each in below):
            raise DescriptionError(
                f"The files {given!r} ({what}) of the processes are not all below one folder. Use absolute paths."
            )
        return "/".join((literal(folders.pop()), *parts[first:])), paths

    def _of_proc(self, text: str, number: int) -> str:
        """A path with the macros of a proc."""
        values = {**(self._items[number] if self._items else {}), **dict.fromkeys(_NUMBERS, str(number))}
        return self._own.sub(lambda found: values[found[1].lower()], text)

    def _look_up(self, given: str, what: str) -> Path:
        bare = given.rstrip("/")
        named = self._named.get(given) or self._named.get(bare)
        if named is None and PurePosixPath(bare).parent in (PurePosixPath(".."), PurePosixPath(".")):
            named = self._named.get(PurePosixPath(bare).name)
        path = named or self._find(bare or given)
        if path is None:
            raise DescriptionError(f"The file {given!r} ({what}) does not exist.{self._where()}")
        return path

    def _find(self, given: str) -> Path | None:
        if not given or "\0" in given:
            return None
        places = [Path(given)]
        if given.startswith("~"):
            places.append(Path(os.path.expanduser(given)))  # noqa: PTH111 (Path's raises for a name that is no user's)
        for path in places:
            for candidate in [path] if path.is_absolute() else [folder / path for folder in self._folders]:
                try:
                    if candidate.exists():
                        return Path(os.path.normpath(candidate.absolute()))
                except OSError:
                    continue  # a name too long for this file system cannot exist
        return None

    def _where(self) -> str:
        return " Looked in: " + ", ".join(str(folder) for folder in self._folders) + "."


def literal(path: Path) -> str:
    """A path without anything that HTCondor reads as a macro."""
    return str(path).replace("$", "$(DOLLAR)")


def _check_alone(whole: dict[str, Path], path: Path) -> None:
    """
    Raises:
        DescriptionError: another file of this name is sent, too: at the job, one would replace the other.
    """
    other = whole.setdefault(path.name, path)
    if other != path:
        raise DescriptionError(
            f"The input files {str(other)!r} and {str(path)!r} have the same name, and all inputs of a job are in one "
            "folder there. Rename one, or put it into a directory and send that."
        )
