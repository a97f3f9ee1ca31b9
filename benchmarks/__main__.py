"""Runs the benchmarks, prints a table, and writes RESULTS.md; with words, only those that have one in their name."""

import importlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.parts import Parts, parts
from benchmarks.results import Row, report, table

#: Each has a list BENCHMARKS.
MODULES = ("benchmarks.submissions", "benchmarks.monitoring", "benchmarks.dask_jobs", "benchmarks.workflows")
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(words: list[str]) -> None:
    """Runs the benchmarks; a part of them leaves RESULTS.md alone."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside, it leaves nothing running either
    rows: list[Row] = []
    with parts() as given:
        for benchmark in _chosen(words):
            began = time.monotonic()
            found = benchmark(given)
            rows.extend(found)
            print(f"\n{benchmark.__name__} ({time.monotonic() - began:.0f} s)\n{table(found)}", flush=True)
    text = report(rows, given.condor_version)
    print(text)
    if not words:
        RESULTS.write_text(text)


def _chosen(words: list[str]) -> list[Callable[[Parts], list[Row]]]:
    found = [benchmark for name in MODULES for benchmark in importlib.import_module(name).BENCHMARKS]
    return [benchmark for benchmark in found if not words or any(word in benchmark.__name__ for word in words)]


if __name__ == "__main__":
    main(sys.argv[1:])
