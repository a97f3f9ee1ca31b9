"""What an import of the package costs those who import it without meaning to use it, as every Prefect server does, and
what the commands load that people call often."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from prefect_jobs import statuses
from prefect_jobs.cli import lazy
from prefect_jobs.records import StatusState
from prefect_jobs.store import Database, Store
from tests.support import draft

MICROSECONDS = 1e-6


def imported(statement: str) -> dict[str, float]:
    """The modules that a fresh interpreter imports for a statement, each with its seconds, all below it included."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return modules_of(done.stderr)


def modules_of(told: str) -> dict[str, float]:
    """The modules in what the interpreter tells of its imports."""
    lines = re.findall(r"^import time: +\d+ \| +(\d+) \| +(\S+)$", told, re.MULTILINE)
    return {module: int(cumulative) * MICROSECONDS for cumulative, module in lines}


def packages(modules: dict[str, float]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_importing_the_package_loads_nothing_but_the_standard_library() -> None:
    # when
    modules = imported("import prefect_jobs")
    # then
    assert "prefect_jobs" in modules
    foreign = packages(modules) - sys.stdlib_module_names - packages(imported("")) - {"prefect_jobs"}
    assert foreign == set()


def test_importing_the_package_takes_no_time_to_speak_of() -> None:
    # when: the best of several, since other processes want the machine as well
    seconds = min(imported("import prefect_jobs")["prefect_jobs"] for _ in range(5))
    # then
    assert seconds < 0.2


@pytest.mark.parametrize("module", ["prefect_jobs.blocks", "prefect_jobs.cli"])
def test_no_scheduler_and_no_server_is_loaded_before_it_is_used(module: str) -> None:
    # when
    modules = imported(f"import {module}")
    # then
    assert module in modules
    assert packages(modules).isdisjoint({"htcondor2", "distributed", "dask"})
    assert [name for name in modules if name.startswith("prefect.server.")] == []


#: What a command that reads SQL has no use for.
HEAVY = {
    "prefect", "htcondor2", "distributed", "dask", "textual", "starlette", "uvicorn", "fastapi", "jinja2", "httpx",
    "alembic", "psycopg", "prometheus_client",
}  # fmt: skip
TYPES = ("CONDOR", "DASK", "CONDORWORKFLOW", "BASIC")
#: What the id of the flow run of each begins with.
RUN = "00000000-0000-4000-8000-00000000000"


@pytest.fixture(scope="module")
def saved_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database with a job of each engine that is over."""
    url = f"sqlite:///{tmp_path_factory.mktemp('jobs') / 'jobs.db'}"
    store = Store(Database(url))
    for number, type_name in enumerate(TYPES, 1):
        ended = StatusState(statuses.COMPLETE)
        store.insert(draft(f"a {type_name} job", type=type_name, flow_run_id=f"{RUN}{number}", state=ended))
    store.database.dispose()
    yield url


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("--help", "List jobs"),
        ("list", "DASK"),
        *((f"show {number} --json", f"/flow-run/{RUN}{number}") for number in range(1, len(TYPES) + 1)),
    ],
)
def test_a_command_that_reads_sql_loads_no_prefect_and_no_scheduler(saved_jobs: str, command: str, said: str) -> None:
    # given
    where = {"PREFECT_JOBS_DATABASE_URL": saved_jobs, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    # when
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "prefect_jobs", *command.split()],
        capture_output=True, text=True, timeout=60, env={**os.environ, **where},
    )  # fmt: skip
    # then
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert packages(modules_of(done.stderr)) & HEAVY == set()


@pytest.mark.parametrize("name", lazy.COMMANDS)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    # when
    first, *_ = str(lazy.load(name).help).split("\n\n")
    # then
    assert " ".join(first.split()) == lazy.COMMANDS[name][1]
