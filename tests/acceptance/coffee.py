"""A job type of somebody's own, and results functions."""

from collections.abc import Mapping
from typing import Any, ClassVar

from prefect_jobs import (
    Job,
    Submitted,
)


class Coffee(Job):
    """A type of one's own, with plain and async hooks."""

    spec_defaults: ClassVar[Mapping[str, Any]] = {"cups": 1}

    async def _execute(self) -> Submitted:
        if self.spec["cups"] > 9:
            raise ValueError("the pot holds nine cups")
        return Submitted("pot-1")

    def _update_status(self) -> str:
        return "Results-Ready"

    async def _process_results(self) -> list[str]:
        return ["espresso"] * int(self.spec["cups"])

    async def stop(self) -> str:
        return "Aborted"


RESULTS: list[Any] = []


def note(result: Any) -> None:
    """A results function."""
    RESULTS.append(result)


def fail(result: Any) -> None:
    """A results function that fails."""
    raise RuntimeError("no sugar")
