"""What an import of the package costs those who import it without meaning to use it: every Prefect server does."""

import re
import subprocess
import sys

import pytest

MICROSECONDS = 1e-6


def imported(statement: str) -> dict[str, float]:
    """The modules that a fresh interpreter imports for a statement, each with its seconds, all below it included."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^import time: +\d+ \| +(\d+) \| +(\S+)$", done.stderr, re.MULTILINE)
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


@pytest.mark.alone
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
