"""The process from which programs of tests are forked: it serves many, and outlives each of them."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forks import Imports, Program, run_program, serve


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the process that is shared, of which the programs of this test are forked."""
    process = serve(Imports.DASK, tmp_path)
    monkeypatch.setenv("TEST_FORKS", str(tmp_path))
    monkeypatch.setattr("tests.forks._all", {})
    yield str(tmp_path / Imports.DASK.name)
    assert process.stdin is not None and process.poll() is None
    process.stdin.close()
    assert process.wait(30) == 0


def test_a_client_that_is_gone_and_a_program_that_cannot_start_leave_it_running(shared: str) -> None:
    # given a client that says nothing, and one that does not wait for its answer
    for request in (None, {"wait": 1}):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(shared)
            if request is not None:
                client.send(json.dumps(request).encode())
    # and a program whose folder is not there
    with pytest.raises(AssertionError, match=r"no program can be forked: .* in /nowhere"):
        Program([sys.executable, "-c", ""], imports=Imports.DASK, cwd="/nowhere", stderr=subprocess.DEVNULL)
    # then others are forked as before, with nothing of the process but what they were given
    script = "import os, sys; print(len(os.listdir('/proc/self/fd')), 'distributed' in sys.modules); sys.exit(3)"
    program = run_program([sys.executable, "-c", script], timeout=60, imports=Imports.DASK)
    assert (program.returncode, program.stdout.split()) == (3, ["4", "True"]), program.stderr
