"""A process that has not loaded Prefect yet, and a Prefect that does not answer: no call waits longer than 3 s."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_jobs.local.processes import LOOPBACK

SCRIPT = """
import json, sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "prefect":
            time.sleep(3.5)  # a slow disk

sys.meta_path.insert(0, Slow())
from prefect_jobs import App, PrefectJobsError

class Tests(App):
    name = package = "tests"

manager, seconds = Tests.get_job_manager(), {}

def timed(what, call):
    began = time.monotonic()
    try:
        call()
    except PrefectJobsError as error:
        print(what, error, file=sys.stderr)
    seconds[what] = time.monotonic() - began

commands = {"executable": "/bin/true"}
timed("create_job", lambda: manager.create_job("0th", "alice", job_type="CONDOR", attributes=commands, scheduler="a"))
job = manager.create_job("first", "alice", job_type="BASIC")
timed("save", job.save)
timed("execute", job.execute)
timed("flow_run_url", lambda: job.flow_run_url)
condor = manager.create_job("third", "alice", job_type="CONDOR", attributes=commands, scheduler="a")
timed("save of another", condor.save)
timed("delete", job.delete)
print(json.dumps(seconds))
"""


@pytest.mark.alone
@pytest.mark.parametrize("hangs", [True, False])
def test_no_call_waits_for_the_import_of_prefect(tmp_path: Path, hangs: bool) -> None:
    # given an address at which nobody answers, or nobody listens
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    if not hangs:
        listener.close()
    environment = {
        **os.environ,
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_JOBS_DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.db'}",
    }
    # when
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    listener.close()
    # then (what is above 3 s is for the machine)
    assert done.returncode == 0, done.stderr
    seconds = json.loads(done.stdout)
    assert max(seconds.values()) < 4, seconds
    assert sum(seconds.values()) < 8, seconds
    assert "Traceback" not in done.stderr
