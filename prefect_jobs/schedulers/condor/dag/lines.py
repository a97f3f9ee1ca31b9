"""The commands of an existing DAG file, as DAGMan reads them (HTCondor manual, "DAG Input File Format")."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect_jobs.schedulers.condor.dag.model import DagError

#: Largest size of a DAG file, in bytes.
_LARGEST = 200_000_000
#: Commands after which a submit description may stand in the file itself.
_DESCRIBED = ("JOB", "FINAL", "SERVICE", "PROVISIONER", "SUBMIT-DESCRIPTION")
#: How many files may include each other.
_DEPTH = 50
_HERE = re.compile(r"@=(\w+)\Z")


@dataclass(frozen=True)
class Line:
    """One command of a DAG file."""

    file: Path
    number: int
    #: In upper case.
    command: str
    #: What follows, as it is written.
    rest: str
    #: The submit description that stands in the file, after this line.
    body: str | None = None

    @property
    def words(self) -> list[str]:
        """What follows, split at white space."""
        return self.rest.split()

    @property
    def where(self) -> str:
        """The file and the line, for messages."""
        return f"{self.file}, line {self.number}"

    def error(self, text: str) -> DagError:
        """An error in this line."""
        return DagError(f"{self.where}: {text}")


def read(path: Path) -> str:
    """The text of a DAG file.

    Raises:
        DagError: it cannot be read, or is no text.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise DagError(f"The DAG file {str(path)!r} is larger than {_LARGEST // 1_000_000} MB.")
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except IsADirectoryError:
        raise DagError(f"The DAG file {str(path)!r} is a directory.") from None
    except FileNotFoundError:
        raise DagError(f"The DAG file {str(path)!r} does not exist.") from None
    except OSError as error:
        raise DagError(f"The DAG file {str(path)!r} cannot be read: {error.strerror or error}.") from None
    if "\0" in text:
        raise DagError(f"The DAG file {str(path)!r} is no text: it contains a byte 0.")
    return text


def lines_of(
    path: Path, folder: Path, above: tuple[Path, ...] = (), reading: Callable[[Path], str] = read
) -> Iterator[Line]:
    """The commands of a DAG file, with those of the files that it includes in their place.

    Args:
        path: of the file.
        folder: the folder from which its paths are meant.
        above: the files that include it.
        reading: reads a file.

    Raises:
        DagError: a file cannot be read, or a description has no end; names the file and the line.
    """
    if len(above) > _DEPTH:
        raise DagError(f"{path}: more than {_DEPTH} files include each other.")
    included = None
    for line in _split(reading(path), path):
        if line.command == "SPLICE" and included is not None:
            raise line.error(
                f"DAGMan does not find splices that are declared after an INCLUDE (line {included}). Move SPLICE up."
            )
        if line.command == "INCLUDE":
            included = line.number
        else:
            yield line
            continue
        if len(line.words) != 1:
            raise line.error("INCLUDE takes one file.")
        other = folder / line.words[0]
        if other in (path, *above):
            raise line.error(f"{line.words[0]!r} includes itself.")
        if not other.is_file():
            raise line.error(f"the included file {line.words[0]!r} does not exist. Looked in: {folder}.")
        yield line
        yield from lines_of(other, folder, (path, *above), reading)


def _split(text: str, path: Path) -> Iterator[Line]:
    numbered = enumerate(text.splitlines(), 1)
    for number, raw in numbered:
        first, whole = number, raw.strip()
        while whole.endswith("\\"):
            more = next(numbered, None)
            whole = whole[:-1].rstrip() + " " + (more[1].strip() if more else "")
            if more is None:
                break
        if not whole.strip() or whole.startswith("#"):
            continue
        command, _, rest = whole.strip().replace("\t", " ").partition(" ")
        command, rest, body = command.upper(), rest.strip(), None
        if command in _DESCRIBED:
            rest, end = _opening(rest)
            if end is not None:
                body = _body(numbered, end, f"{path}, line {first}")
        yield Line(path, first, command, rest, body)


def _opening(rest: str) -> tuple[str, str | None]:
    """What stands before a description in the file, and the line that ends it."""
    here = _HERE.search(rest)
    if here:
        return rest[: here.start()].strip(), f"@{here[1]}"
    if rest.endswith("{"):
        return rest[:-1].strip(), "}"
    return rest, None


def _body(numbered: Iterator[tuple[int, str]], end: str, where: str) -> str:
    found: list[str] = []
    for _, line in numbered:
        # Options of the node may follow the end.
        if line.strip() == end or line.strip().startswith(f"{end} "):
            return "\n".join(found) + "\n" + ("" if line.strip() == end else f"{_OPTIONS}{line.strip()[len(end) :]}\n")
        found.append(line)
    raise DagError(f"{where}: the submit description that begins here has no end, a line with {end!r}.")


#: Begins the last line of a body: the options after its end.
_OPTIONS = "#DAG "


def options_after(body: str) -> list[str]:
    """The words that follow the end of a description in the file."""
    last = body.rstrip("\n").rpartition("\n")[2]
    return last.removeprefix(_OPTIONS).split() if last.startswith(_OPTIONS) else []
