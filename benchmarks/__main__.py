"""Runs the benchmarks, prints tables, and writes RESULTS.md, a section for each module; with words, only modules that
are named, and benchmarks that have one in their name."""

import importlib
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.parts import DATABASE, Parts, parts
from benchmarks.results import ON_POSTGRESQL, Row, section, table

#: Each has a list BENCHMARKS.
MODULES = (
    "start_up", "submissions", "monitoring", "changes", "pickup", "dask_jobs", "workflows", "bring", "web", "model",
    "curves",
)  # fmt: skip
RESULTS = Path(__file__).with_name("RESULTS.md")
_HEAD = (
    "# Results of the benchmarks\n\nWritten by `make bench`; pool, Prefect server and benchmarks share the machine.\n"
)

Benchmark = Callable[[Parts], list[Row]]


def main(words: list[str]) -> None:
    """Runs the benchmarks; the section of a module of which only a part was run stays as it was."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside, it leaves nothing running either
    with parts() as given:
        for module in MODULES:
            every: list[Benchmark] = importlib.import_module(f"benchmarks.{module}").BENCHMARKS
            chosen = [
                one for one in every if not words or module in words or any(word in one.__name__ for word in words)
            ]
            rows: list[Row] = []
            for benchmark in chosen:
                began = time.monotonic()
                found = benchmark(given)
                rows.extend(found)
                print(f"\n{benchmark.__name__} ({time.monotonic() - began:.0f} s)\n{table(found)}", flush=True)
            if chosen and chosen == every:
                title = f"{module}{ON_POSTGRESQL}" if DATABASE else module
                _write(title, section(title, rows, given.condor_version))


def _write(module: str, text: str) -> None:
    """Replaces a module's section."""
    known = RESULTS.read_text() if RESULTS.exists() else ""
    sections = {found.split("\n", 1)[0][3:].strip(): found for found in re.findall(r"(?ms)^## .*?(?=^## |\Z)", known)}
    sections[module] = text
    titles = [title for name in MODULES for title in (name, f"{name}{ON_POSTGRESQL}") if title in sections]
    RESULTS.write_text(_HEAD + "".join(f"\n{sections[title].strip()}\n" for title in titles))


if __name__ == "__main__":
    main(sys.argv[1:])
