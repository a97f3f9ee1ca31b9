"""What a command takes that people type again and again: nearly all of it is the import of modules."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from benchmarks.parts import Parts, check
from benchmarks.results import Row

REPEATS = 7
#: The libraries that no command can do without.
BARE = ("-c", "import sqlalchemy, typer")


def commands(given: Parts) -> list[Row]:
    """Commands that read SQL; bare: the libraries of a database and of a command line."""
    job = given.manager.create_job("start-up", "alice", job_type="BASIC")
    job.save()
    job.update_status("Complete")
    given.settle()
    every = {
        "bare": BARE,
        "import prefect_jobs": ("-c", "import prefect_jobs"),
        "--help": ("-m", "prefect_jobs", "--help"),
        "list": ("-m", "prefect_jobs", "list"),
        f"show {job.id}": ("-m", "prefect_jobs", "show", str(job.id)),
    }
    # One after the other in turn, so that what else the machine does concerns all of them.
    took: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(REPEATS):
        for name, arguments in every.items():
            took[name].append(_seconds(arguments))
    bare = median(took.pop("bare"))
    empty = median(took.pop("import prefect_jobs"))
    told = {name: (median(times), f"best {1000 * min(times):.0f} ms of {REPEATS}") for name, times in took.items()}
    return [
        Row("An interpreter that imports prefect_jobs", 1000 * empty, "ms", target=50),
        *(
            Row(
                f"prefect-jobs {name}; bare: import sqlalchemy, typer",
                seconds,
                bare=bare,
                detail=detail,
                target=0.4,
                reason="The bare imports, and pydantic, rich and asyncio, take most of it.",
            )
            for name, (seconds, detail) in told.items()
        ),
        Row("prefect-jobs list as a multiple of import sqlalchemy, typer", told["list"][0] / bare, "", target=3),
    ]


def _seconds(arguments: tuple[str, ...]) -> float:
    """The time of an interpreter from its start to its end, with the bytecode of modules as an installation has it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    check(done.returncode == 0, f"{arguments} works: {done.stderr}")
    return took


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [commands]
