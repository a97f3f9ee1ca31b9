"""Runs the benchmarks, prints tables, and writes RESULTS.md, a section for each module; with words, only modules that
are named, and benchmarks that have one in their name."""

import importlib
import re
import signal
import sys
import time
import traceback
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


def main(words: list[str]) -> int:
    """Runs the benchmarks; the section of a module of which only a part was run stays as it was. The exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside, it leaves nothing running either
    failed: set[Benchmark] = set()
    with parts() as given:
        engines = {"HTCondor": given.condor_version}
        if DATABASE:
            with given.runtime.store.database.reading() as connection:
                engines["PostgreSQL"] = ".".join(map(str, connection.dialect.server_version_info or ()))
        for module in MODULES:
            every: list[Benchmark] = importlib.import_module(f"benchmarks.{module}").BENCHMARKS
            chosen = [
                one for one in every if not words or module in words or any(word in one.__name__ for word in words)
            ]
            rows: list[Row] = []
            for benchmark in chosen:
                began = time.monotonic()
                try:
                    found = benchmark(given)
                except Exception:
                    # The others are measured all the same; what is known of this module stays.
                    failed.add(benchmark)
                    traceback.print_exc()
                    continue
                rows.extend(found)
                print(f"\n{benchmark.__name__} ({time.monotonic() - began:.0f} s)\n{table(found)}", flush=True)
            if chosen and chosen == every and not failed.intersection(chosen):
                title = f"{module}{ON_POSTGRESQL}" if DATABASE else module
                _write(title, section(title, rows, engines))
    for benchmark in failed:
        print(f"Not measured: {benchmark.__module__}.{benchmark.__name__}", file=sys.stderr)
    return 1 if failed else 0


def _write(module: str, text: str) -> None:
    """Replaces a module's section."""
    known = RESULTS.read_text() if RESULTS.exists() else ""
    sections = {found.split("\n", 1)[0][3:].strip(): found for found in re.findall(r"(?ms)^## .*?(?=^## |\Z)", known)}
    sections[module] = text
    titles = [title for name in MODULES for title in (name, f"{name}{ON_POSTGRESQL}") if title in sections]
    RESULTS.write_text(_HEAD + "".join(f"\n{sections[title].strip()}\n" for title in titles))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
