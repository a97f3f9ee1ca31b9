"""One Python file: its text, places in it, and writing it back."""

import ast
import contextlib
import io
import os
import re
import stat
import tempfile
import tokenize
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: The lines of Python: other characters that Unicode calls line breaks are none.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_BOM = b"\xef\xbb\xbf"


class Place(Protocol):
    """A node of the tree that has a place in the text."""

    lineno: int
    col_offset: int
    end_lineno: int | None
    end_col_offset: int | None


class NotReadable(Exception):
    """A file that cannot be read as Python.

    Args:
        message: what is wrong.
        line: where, counted from 1; 0 if that is not known.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Edit:
    """The characters from ``start`` to ``end`` become ``text``."""

    start: int
    end: int
    text: str


class Source:
    """A file that has been read.

    Args:
        path: its path, as people know it.
        raw: its bytes.

    Raises:
        NotReadable: it is not Python, or not in the encoding that it declares.
    """

    def __init__(self, path: Path, raw: bytes) -> None:
        self.path = path
        self._bom = _BOM if raw.startswith(_BOM) else b""
        self._encoding = _encoding_of(raw)
        self.text = _decoded(raw[len(self._bom) :], self._encoding)
        if self.encoded(self.text) != raw:
            raise NotReadable(f"the encoding {self._encoding} has several ways to write the same text")
        self.lines: list[str] = _LINE.findall(self.text)
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line))
        self.tree = parsed(self.text)

    def start(self, node: Place) -> int:
        """The position of the first character of a node."""
        return self._position(node.lineno, node.col_offset)

    def end(self, node: Place) -> int:
        """The position after the last character of a node."""
        return self._position(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def column(self, node: Place) -> int:
        """The column of a node, counted from 1."""
        return self.start(node) - self._starts[node.lineno - 1] + 1

    def part(self, node: Place) -> str:
        """The text of a node."""
        return self.text[self.start(node) : self.end(node)]

    def line_start(self, node: Place) -> int:
        """The position where the line begins that a node begins in."""
        return self._starts[node.lineno - 1]

    def rest_of_line(self, node: Place) -> str:
        """What follows a node in its last line."""
        last = node.end_lineno or node.lineno
        return self.text[self.end(node) : self._starts[last]].rstrip("\r\n")

    def newline(self, node: Place) -> str:
        """The line end of the line that a node begins in, or of the first line."""
        for line in (self.lines[node.lineno - 1], self.lines[0]):
            if ending := line[len(line.rstrip("\r\n")) :]:
                return ending
        return "\n"

    def edited(self, edits: Iterable[Edit]) -> str:
        """The text with changes that do not overlap."""
        parts, position = [], 0
        for edit in sorted(edits, key=lambda edit: edit.start):
            parts += [self.text[position : edit.start], edit.text]
            position = edit.end
        return "".join([*parts, self.text[position:]])

    def encoded(self, text: str) -> bytes:
        """A text as bytes, in the encoding of the file."""
        return self._bom + text.encode(self._encoding)

    def _position(self, line: int, column: int) -> int:
        # the tree counts bytes of UTF-8, whatever the encoding of the file
        start = self._starts[line - 1]
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        return start + len(text.encode()[:column].decode(errors="ignore"))


def parsed(text: str) -> ast.Module:
    """The tree of a text.

    Raises:
        NotReadable: it is not Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes: not our concern
            return ast.parse(text)
    except SyntaxError as error:
        raise NotReadable(f"{error.msg}", error.lineno or 0) from error
    except (RecursionError, MemoryError) as error:
        raise NotReadable("it is nested too deeply") from error
    except ValueError as error:
        raise NotReadable(str(error)) from error


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file at once: readers see the old content or the new one. A link stays, its target is written; the
    permissions stay.

    Raises:
        OSError: it cannot be written; then it is unchanged.
    """
    target = path.resolve(strict=True)
    before = target.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.geteuid() == 0:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _encoding_of(raw: bytes) -> str:
    """The encoding that a file declares (PEP 263)."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    except SyntaxError as error:
        raise NotReadable(str(error.msg), 1) from error
    return "utf-8" if encoding == "utf-8-sig" else encoding


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise NotReadable(
            f"it is not in the encoding {encoding}: declare its encoding in the first line", line
        ) from error
    except LookupError as error:
        raise NotReadable(str(error), 1) from error
