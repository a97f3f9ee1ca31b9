"""One thing that was found in the code of an app."""

from dataclasses import dataclass
from enum import StrEnum

from prefect_jobs.tethys.move.source import Place


class Verdict(StrEnum):
    """Whether something will work."""

    WORKS = "works"
    CHANGES = "changes"
    FAILS = "will not work"


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        node: where.
        verdict: whether it will work: as it is, with a change, or not.
        message: what it is about, a short sentence.
        write: what to write instead; empty if nothing.
    """

    node: Place
    verdict: Verdict
    message: str
    write: str = ""


def works(node: Place, message: str, write: str = "") -> Finding:
    """Something that works, with a note."""
    return Finding(node, Verdict.WORKS, message, write)


def changes(node: Place, message: str, write: str) -> Finding:
    """Something that works if it is changed."""
    return Finding(node, Verdict.CHANGES, message, write)


def fails(node: Place, message: str, write: str = "") -> Finding:
    """Something that will not work."""
    return Finding(node, Verdict.FAILS, message, write)
