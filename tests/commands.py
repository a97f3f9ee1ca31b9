"""The command line in processes of its own, forked from one that has imported what it needs: a new Python would take
seconds for that, each time."""

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil

#: Seconds for one command.
_LIMIT = 120

_SERVER = """
import json, os, sys
import prefect.client.orchestration, prefect.context
import prefect_jobs.blocks
from prefect_jobs.cli import main
from prefect_jobs.cli.root import app

print("ready", flush=True)
for line in sys.stdin:
    given = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, name in enumerate(given["files"]):
            os.dup2(os.open(name, os.O_RDWR), number)
        sys.stdin = open(os.devnull)
        os.environ.clear()
        os.environ.update(given["env"])
        os.chdir(given["cwd"])
        sys.path.insert(0, given["cwd"])
        sys.argv = ["prefect-jobs", *given["arguments"]]
        main()  # ends this process as any Python ends
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Commands:
    """Runs commands, one after the other."""

    def __init__(self) -> None:
        path = os.pathsep.join(sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        )
        assert self._answer(()) == "ready"

    def run(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path) -> tuple[int, str, str]:
        """The exit code of a command, and what it prints on standard output and error."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            out.touch()
            err.touch()
            given: dict[str, Any] = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({**given, "files": [os.devnull, str(out), str(err)]}) + "\n")
            self._process.stdin.flush()
            code = self._answer(arguments)
            return int(code), out.read_text(), err.read_text()

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.communicate(timeout=30)

    def _answer(self, arguments: Sequence[str]) -> str:
        assert self._process.stdout is not None
        there, _, _ = select.select([self._process.stdout], [], [], _LIMIT)
        line = self._process.stdout.readline().strip() if there else ""
        if not line:
            for process in (*psutil.Process(self._process.pid).children(recursive=True), self._process):
                process.kill()
            commands.cache_clear()
            raise AssertionError(f"no answer in {_LIMIT} s: prefect-jobs {' '.join(arguments)}")
        return line


@cache
def commands() -> Commands:
    """Those of this process, for the tests of all files."""
    made = Commands()
    atexit.register(made.close)
    return made
