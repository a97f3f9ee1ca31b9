"""What a Dask scheduler says of the jobs that are there, by the names under which their leaves are published."""

import time
from dataclasses import dataclass
from typing import Any

#: Names under which futures are published begin so; then the submission's token, and a number.
PREFIX = "prefect-jobs-"


def name_of(token: str, number: int) -> str:
    """The name under which a leaf of a submission is published."""
    return f"{PREFIX}{token}-{number}"


def names_of(token: str, count: int) -> list[str]:
    """The names of all of them."""
    return [name_of(token, number) for number in range(count)]


@dataclass(frozen=True)
class Answer:
    """What a scheduler says of all jobs that there are."""

    #: Of the scheduler.
    id: str
    #: How many.
    workers: int
    #: By the names under which leaves are published.
    jobs: dict[str, dict[str, Any]]
    #: When (monotonic).
    asked: float

    @property
    def age(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self.asked

    def of(self, token: str, count: int) -> dict[str, Any]:
        """What it says of one submission; see :meth:`DaskClient.look`."""
        return {
            "id": self.id,
            "workers": self.workers,
            "leaves": [self.jobs.get(name) for name in names_of(token, count)],
        }
