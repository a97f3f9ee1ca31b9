"""Temporary folders, and what killed processes leave behind."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefect_jobs.folders import TemporaryFolder, remove_leftovers
from tests.support import eventually

#: Makes a folder with a secret in it, tells its path, and waits to be killed.
PROGRAM = """
import sys, time
from prefect_jobs.folders import TemporaryFolder
folder = TemporaryFolder("condor")
(folder.path / "tokens.d").mkdir()
(folder.path / "tokens.d" / "token").write_text("s3cr3t")
print(folder.path, flush=True)
time.sleep(600)
"""
#: The same; its child holds on to the folder for as long as its standard input is open.
WITH_CHILD = """
import subprocess, sys, time
from prefect_jobs.folders import TemporaryFolder
folder = TemporaryFolder("condor")
subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[folder.lock], stdout=subprocess.DEVNULL)
print(folder.path, flush=True)
time.sleep(600)
"""

Start = Callable[[str], tuple["subprocess.Popen[str]", Path]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs; kills them at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(script: str) -> tuple["subprocess.Popen[str]", Path]:
        program = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(program)
        assert program.stdout is not None
        return program, Path(program.stdout.readline().strip())

    yield begin
    for program in started:
        program.kill()
        program.communicate()


def test_a_folder_is_private_and_goes_when_it_is_left(place: Path) -> None:
    with TemporaryFolder("links") as folder:
        assert folder.parent == place
        assert folder.name.startswith(f"prefect-jobs-links-{os.getpid()}-")
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inner").mkdir()
    assert list(place.iterdir()) == []


def test_it_goes_when_an_error_leaves_it(place: Path) -> None:
    with pytest.raises(OSError, match="full"), TemporaryFolder("dag"):
        raise OSError("full")
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_behind_goes_with_the_next_folder(start: Start) -> None:
    # given one that lives and one that is killed
    _, used = start(PROGRAM)
    killed, left = start(PROGRAM)
    killed.kill()
    killed.wait()
    assert (left / "tokens.d" / "token").read_text() == "s3cr3t"
    # when, then: of another process, since each searches once a minute at most
    _, mine = start(PROGRAM)
    assert not left.exists()
    assert (used / "tokens.d" / "token").exists()
    remove_leftovers()
    assert mine.is_dir()


def test_a_process_that_inherits_the_lock_keeps_the_folder(start: Start) -> None:
    program, left = start(WITH_CHILD)
    program.kill()
    program.wait()
    remove_leftovers()
    assert left.exists()
    # when that one ends, too
    assert program.stdin is not None
    program.stdin.close()
    program.stdin = None

    def gone() -> bool:
        remove_leftovers()
        return not left.exists()

    eventually(gone, "the folder is gone")


def test_what_is_not_ours_stays(place: Path, start: Start) -> None:
    killed, left = start(PROGRAM)
    killed.kill()
    killed.wait()
    (left / ".lock").write_text("another-host\nanother-kernel")
    other = place / "prefect-jobs-demo-x"
    other.mkdir()
    (place / "prefect-jobs-file").write_text("")
    (place / "prefect-jobs-link").symlink_to(left)
    remove_leftovers()
    assert left.exists()
    assert {path.name for path in place.iterdir()} == {left.name, other.name, "prefect-jobs-file", "prefect-jobs-link"}


def test_a_forked_child_leaves_the_folder_to_its_parent() -> None:
    script = """
import os
from prefect_jobs.folders import TemporaryFolder
with TemporaryFolder("links") as folder:
    child = os.fork()
    if child == 0:
        pass
    else:
        os.waitpid(child, 0)
        print(folder.is_dir())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr
