"""A Dask scheduler's answer about all jobs that it has, by the names under which their leaves are published."""

import time
from dataclasses import dataclass
from typing import Any

#: Prefix of the names under which futures are published; the submission's token and a number follow.
PREFIX = "prefect-jobs-"


def name_of(token: str, number: int) -> str:
    """The name under which a leaf of a submission is published."""
    return f"{PREFIX}{token}-{number}"


def names_of(token: str, count: int) -> list[str]:
    """The names of all leaves of a submission."""
    return [name_of(token, number) for number in range(count)]


@dataclass(frozen=True)
class Answer:
    """A scheduler's answer about all its jobs."""

    #: Id of the scheduler.
    id: str
    #: Number of workers.
    workers: int
    #: Leaves by the names under which they are published.
    jobs: dict[str, dict[str, Any]]
    #: Time of the request (monotonic).
    asked: float

    @property
    def age(self) -> float:
        """Seconds since the request."""
        return time.monotonic() - self.asked

    def of(self, token: str, count: int) -> dict[str, Any]:
        """The answer for one submission; see :meth:`DaskClient.look`."""
        return {
            "id": self.id,
            "workers": self.workers,
            "leaves": [self.jobs.get(name) for name in names_of(token, count)],
        }
