"""The process from which programs of tests are forked: it serves many, and outlives each of them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import forked_python
from tests.forks import Imports, Program, run_program, serve


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address and pid of the process that is shared, of which the programs of this test are forked."""
    process = serve(tmp_path, Imports.DASK)
    monkeypatch.setenv("TEST_FORKS", str(tmp_path))
    monkeypatch.setattr("tests.forks._all", {})
    yield str(tmp_path / Imports.DASK.name), process.pid
    assert process.stdin is not None and process.poll() is None
    process.stdin.close()
    assert process.wait(30) == 0


def test_a_client_that_is_gone_and_a_program_that_cannot_start_leave_it_running(shared: tuple[str, int]) -> None:
    # given a client that says nothing, and one that does not wait for its answer
    for request in (None, {"wait": 1}):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(shared[0])
            if request is not None:
                client.send(json.dumps(request).encode())
    # and one that is interrupted before it knows of its program
    place: dict[str, Any] = {"env": {}, "path": [], "cwd": "/", "session": False, "daemon": False}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client, Path(os.devnull).open("r+b") as nothing:
        client.connect(shared[0])
        place["command"] = ["python", "-c", "import time; time.sleep(100)"]
        socket.send_fds(client, [json.dumps(place).encode()], [nothing.fileno()] * 3)
    # and a program whose folder is not there
    with pytest.raises(AssertionError, match=r"no program can be forked: .* in /nowhere"):
        Program([sys.executable, "-c", ""], imports=Imports.DASK, cwd="/nowhere", stderr=subprocess.DEVNULL)
    assert not psutil.Process(shared[1]).children()
    # then others are forked as before, with nothing of the process but what they were given
    script = "import os, sys; print(len(os.listdir('/proc/self/fd')), 'distributed' in sys.modules); sys.exit(3)"
    program = run_program([sys.executable, "-c", script], timeout=60, imports=Imports.DASK)
    assert (program.returncode, program.stdout.split()) == (3, ["4", "True"]), program.stderr


def test_without_a_process_to_fork_from_it_is_python(tmp_path: Path) -> None:
    script = "import sys; print(sys.argv[1:], 'prefect' in sys.modules); sys.exit(3)"
    environment = {"TEST_FORKS": str(tmp_path), "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath])}
    command = [forked_python.__file__, "-u", "-c", script, "one"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "['one'] False\n"), done.stderr


def test_what_stands_for_python_ends_as_its_program_does(shared: tuple[str, int], tmp_path: Path) -> None:
    # given
    (tmp_path / Imports.PRODUCT.name).symlink_to(shared[0])
    python = forked_python.__file__
    # when it is given a program, input and arguments
    script = "import sys; print(sys.stdin.read(), *sys.argv[1:]); sys.exit(3)"
    done = subprocess.run(
        [python, "-u", "-c", script, "a  b"], input="rain", capture_output=True, text=True, timeout=60
    )
    # then
    assert (done.returncode, done.stdout) == (3, "rain a  b\n"), done.stderr
    # when it is ended, or its program is killed
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(100)"
    for number in (signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen([python, "-c", script], stdout=subprocess.PIPE, text=True) as stands:
            assert stands.stdout is not None
            pid = int(stands.stdout.readline())
            os.kill(stands.pid if number == signal.SIGTERM else pid, number)
            # then
            assert stands.wait(30) == -number
            assert not Path(f"/proc/{pid}").exists()
    # and a module starts its own programs so
    (tmp_path / "which.py").write_text("import sys; print(sys.executable, *sys.argv[1:])")
    done = subprocess.run([python, "-m", "which", "one"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{python} one\n", done.stderr
