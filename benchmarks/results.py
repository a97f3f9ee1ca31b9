"""What a benchmark gives, and how it is shown."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

import prefect_jobs

#: Behind the name of a module that was run on PostgreSQL (BENCH_DATABASE_URL).
ON_POSTGRESQL = ", on PostgreSQL"
_HEAD = ("what", "target", "measured", "bare engine", "ratio")


@dataclass(frozen=True)
class Row:
    """One number, beside what it should be and what the engine alone takes in the same run."""

    what: str
    measured: float
    #: ``s``, ``ms``, ``%``, …
    unit: str = "s"
    #: What it should stay below.
    target: float | None = None
    bare: float | None = None
    #: Said behind the number: how it spreads, of how many.
    detail: str = ""
    #: Why the target is missed, where it is.
    reason: str = ""

    @property
    def missed(self) -> bool:
        """Whether the target is missed."""
        return self.target is not None and self.measured > self.target

    def cells(self) -> tuple[str, ...]:
        """As shown in a table."""
        measured = self._said(self.measured) + (f" ({self.detail})" if self.detail else "")
        target = "" if self.target is None else f"{'**missed** ' if self.missed else ''}≤ {self.target:g} {self.unit}"
        bare = "" if self.bare is None else self._said(self.bare)
        ratio = f"{self.measured / self.bare:.2f}" if self.bare else ""
        return self.what, target.strip(), measured, bare, ratio

    def _said(self, number: float) -> str:
        return f"{number:.3g} {self.unit}".strip()


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [_HEAD, tuple("---" for _ in _HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def section(module: str, rows: Sequence[Row], engines: Mapping[str, str]) -> str:
    """What is written of a module.

    Args:
        module: its name.
        rows: what was measured.
        engines: HTCondor, and PostgreSQL where it is measured: name → version.
    """
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(
        [
            f"Python {platform.python_version()}",
            *(f"{name} {version}" for name, version in engines.items()),
            f"Prefect {importlib.metadata.version('prefect')}",
            f"prefect-jobs {prefect_jobs.__version__}",
        ]
    )
    missed = "".join(
        f"- {row.what}: missed. {row.reason or 'The reason is not known.'}\n" for row in rows if row.missed
    )
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB of memory"
    head = f"## {module}\n\n{datetime.now(UTC):%Y-%m-%d}, {machine}; {versions}.\n\n"
    return head + table(rows) + (f"\n{missed}" if missed else "")
