"""The command line in processes of its own."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.forks import run_program


def run_command(
    arguments: Sequence[str], env: Mapping[str, str] = os.environ, cwd: Path | None = None
) -> tuple[int, str, str]:
    """The exit code of a command, and what it prints on standard output and error."""
    given = {**env, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    done = run_program([sys.executable, "-m", "prefect_jobs", *arguments], env=given, cwd=cwd, timeout=120)
    return done.returncode, done.stdout, done.stderr
