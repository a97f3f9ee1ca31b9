"""A soak: whatever is killed, and whenever, each job ends as it must, once, and Prefect shows it."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_jobs.local.processes import LOOPBACK, free_port
from tests.acceptance.soak.__main__ import MISSING
from tests.acceptance.soak.parts import FORKED, MARK, left_behind
from tests.forks import Program
from tests.support import missing

FORM = "long" if os.environ.get("PREFECT_JOBS_SOAK") == "long" else "short"
#: Seconds that it may take: the short form two minutes on a quiet machine, the long one twenty.
LIMIT = 3600 if FORM == "long" else 900


@pytest.fixture
def folder() -> Iterator[Path]:
    """For everything. Not in pytest's own: the daemons of root's pool run as another user, who may not enter it."""
    made = Path(tempfile.mkdtemp(prefix="soak-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def seed() -> int:
    """What everything random is drawn from."""
    given = os.environ.get("PREFECT_JOBS_SOAK_SEED")
    return int(given) if given else random.SystemRandom().randrange(1_000_000)


@pytest.mark.timeout(LIMIT + 60)
def test_whatever_is_killed_each_job_ends_as_it_must(
    folder: Path, seed: int, prefect_template: Path, request: pytest.FixtureRequest
) -> None:
    shutil.copytree(prefect_template, folder / "prefect")
    # An even seed is for SQLite, an odd one for PostgreSQL.
    database = f"sqlite:///{folder / 'jobs.db'}"
    if seed % 2:
        server = request.getfixturevalue("_postgres")
        made = server.database()
        database = made.__enter__().render_as_string(hide_password=False)
        request.addfinalizer(lambda: made.__exit__(None, None, None))
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect-home"),
        "PREFECT_API_URL": f"http://{LOOPBACK}:{free_port()}/api",
        "PREFECT_JOBS_DATABASE_URL": database,
        "PREFECT_JOBS_WORKSPACE": str(folder / "workspace"),
        "PREFECT_JOBS_POLL_INTERVAL": "1" if FORM == "long" else "2",
        # A task is no failure of the job's because its worker was killed time and again.
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1000",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(folder / "tmp"),
        MARK: str(folder),
        "TEST_FORKED": str(folder / FORKED),
    }
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "tests.acceptance.soak", str(seed), FORM, str(folder)]
    sys.stdout.write(f"soak: {FORM}, PREFECT_JOBS_SOAK_SEED={seed}\n")
    with (folder / "soak.log").open("w+") as log, subprocess.Popen(command, env=environment, stdout=log) as soak:
        said = 0
        deadline = time.monotonic() + LIMIT
        try:
            while soak.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
                said += sys.stdout.write((folder / "soak.log").read_text()[said:])
                sys.stdout.flush()
            over = soak.poll() is not None
        finally:
            soak.terminate()
            try:
                soak.wait(60)
            except subprocess.TimeoutExpired:
                soak.kill()
        text = (folder / "soak.log").read_text()
        sys.stdout.write(text[said:])
    if soak.returncode == MISSING:
        missing("A part of the soak", text)
    wrong = "\n".join(line for line in text.splitlines() if line.startswith("WRONG"))
    again = f"PREFECT_JOBS_SOAK={FORM} PREFECT_JOBS_SOAK_SEED={seed}"
    if not over or soak.returncode:
        pytest.fail(f"{again}: exit status {soak.returncode if over else 'none in time'}\n{wrong}", pytrace=False)


def test_what_a_soak_leaves_behind_is_found(tmp_path: Path) -> None:
    environment = {**os.environ, MARK: str(tmp_path), "TEST_FORKED": str(tmp_path / FORKED)}
    waits = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(waits, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as anew,
        Program(waits, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as forked,
    ):
        assert {process.pid for process in left_behind(tmp_path)} == {anew.pid, forked.pid}
    assert left_behind(tmp_path) == []
