"""A log in one or several files: its text, or a part of it."""

import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(frozen=True)
class LogPart:
    """A part of a log."""

    text: str
    #: Its first byte, the one after its last, and the length of the whole, in bytes.
    start: int
    end: int
    length: int


class LogFile:
    """A log. Called, it gives its text; empty if there is none yet."""

    def __init__(self, *paths: Path) -> None:
        self.paths: Sequence[Path] = paths

    def __call__(self) -> str:
        """The whole text; several files one after the other."""
        return "".join(self._text(path) for path in self.paths)

    def part(self, size: int, before: int | None = None, after: int | None = None) -> LogPart:
        """A part, without reading the rest: the end; what is ``before`` a byte, or ``after`` one.

        Args:
            size: bytes, at most.
            before: the byte after the last one.
            after: the first byte.
        """
        if len(self.paths) != 1:
            return part_of(self(), size, before, after)
        path = self.paths[0]
        try:
            with self._open(path) as file:
                length = file.seek(0, os.SEEK_END)
                start, end = _range(length, size, before, after)
                file.seek(start)
                data = file.read(end - start)
        except OSError:
            return part_of(self.unreadable(path), size, before, after)
        return _part(data, start, length)

    def unreadable(self, path: Path) -> str:
        """What is shown for a file that cannot be read."""
        return ""

    def _text(self, path: Path) -> str:
        try:
            with self._open(path) as file:
                return file.read().decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        except OSError:
            return self.unreadable(path)

    def _open(self, path: Path) -> BinaryIO:
        """
        Raises:
            OSError: it cannot be read.
        """
        return path.open("rb")


class ForeignLog(LogFile):
    """A log in the folder of another user, who decides what is at its path: only a file of that user is read."""

    def __init__(self, path: Path, owner: str, *, here: bool = True) -> None:
        """
        Args:
            path: of the file.
            owner: the name of that user.
            here: whether the path is one of this machine.
        """
        super().__init__(path)
        self._owner = owner
        self._here = here

    def text(self, most: int) -> str:
        """The text of a file of at most so many bytes.

        Raises:
            OSError: it is larger, or cannot be read.
        """
        with self._open(self.paths[0]) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise OSError(f"{self.paths[0]} is larger than {most} bytes.")
        return data.decode("utf-8-sig", errors="replace")

    def unreadable(self, path: Path) -> str:
        """As :meth:`LogFile.unreadable`."""
        return f"This log is at {path}, in the folder of {self._owner}. It cannot be read here.\n"

    def _open(self, path: Path) -> BinaryIO:
        if not self._here:
            raise PermissionError(f"{path} is a path of another machine.")
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would keep us
        try:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != pwd.getpwnam(self._owner).pw_uid:
                raise PermissionError(f"{path} is not a file of {self._owner}.")
            return os.fdopen(number, "rb")
        except BaseException as error:
            os.close(number)
            if isinstance(error, KeyError):
                raise PermissionError(f"There is no user {self._owner} here.") from error
            raise


def texts(value: Any) -> Any:
    """A log as a text, or logs by their names as texts; what is asked for when it is called is called."""
    if isinstance(value, Mapping):
        return {name: texts(each) for name, each in value.items()}
    return value() if callable(value) else value


def part_of(text: str, size: int, before: int | None = None, after: int | None = None) -> LogPart:
    """A part of a text; see :meth:`LogFile.part`."""
    data = text.encode(errors="replace")
    start, end = _range(len(data), size, before, after)
    return _part(data[start:end], start, len(data))


def _part(data: bytes, start: int, length: int) -> LogPart:
    """The part with these bytes, without halves of characters at its ends (UTF-8: RFC 3629)."""
    head = 0
    while start and head < min(3, len(data)) and data[head] & 0xC0 == 0x80:
        head += 1
    tail = len(data)
    for back in range(1, min(4, len(data) - head + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            wanted = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            if wanted > back:
                tail -= back
            break
    if tail <= head:  # nothing but such bytes: shown as they are
        head, tail = 0, len(data)
    return LogPart(data[head:tail].decode(errors="replace"), start + head, start + tail, length)


def _range(length: int, size: int, before: int | None, after: int | None) -> tuple[int, int]:
    if after is not None:
        return min(after, length), min(after + size, length)
    end = length if before is None else min(before, length)
    return max(0, end - size), end
