"""What the tests of the personal pool share: clients of other identities, tools, what runs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from prefect_jobs.local.condor_pool import PersonalPool, PoolInfo
from prefect_jobs.local.processes import ProcessRecord, read_record

# A client as a user has it: the Python wheel, the pool's configuration, and a token that the environment names.
# It says the cluster on its first line, and the job's ad on its second when the job is in the wanted status.
CLIENT = """
import json, sys, time
import htcondor2
script, wanted = sys.argv[1], int(sys.argv[2])
schedd = htcondor2.Schedd(htcondor2.Collector().locate(htcondor2.DaemonType.Schedd))
result = schedd.submit(htcondor2.Submit({
    "executable": "/bin/sh", "transfer_executable": "false", "arguments": script,
    "should_transfer_files": "YES", "request_memory": "16", "request_disk": "1024",
    "leave_in_queue": "true",
}), spool=True)
schedd.spool(result)
print(result.cluster(), flush=True)
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    (ad,) = schedd.query(f"ClusterId == {result.cluster()}", ["JobStatus", "Owner", "User", "ExitCode"])
    if ad["JobStatus"] == wanted:
        print(json.dumps({name: ad.get(name) for name in ("Owner", "User", "ExitCode")}))
        sys.exit()
    time.sleep(0.1)
sys.exit(f"the job is still in status {ad['JobStatus']}")
"""

# The remote submission of a DAG with one node, which tells who owns it; it says what the node wrote.
DAG_CLIENT = """
import sys, time
from pathlib import Path
import htcondor2
here = Path(sys.argv[1])
location = htcondor2.Collector().locate(htcondor2.DaemonType.Schedd)
schedd = htcondor2.Schedd(location)
dagman = htcondor2.RemoteParam(location)["BIN"] + "/condor_dagman"
(here / "x.dag").write_text("JOB only node.sub\\n")
(here / "node.sub").write_text('''
executable = /bin/sh
transfer_executable = false
arguments = "-c 'sed -n s/^Owner\\\\ =//p $_CONDOR_JOB_AD > owner.txt'"
should_transfer_files = YES
transfer_output_files = owner.txt
request_memory = 16
queue
''')
result = schedd.submit(htcondor2.Submit({
    "universe": "scheduler", "executable": dagman, "transfer_executable": "false", "copy_to_spool": "false",
    "iwd": str(here), "transfer_input_files": "x.dag, node.sub",
    "arguments": "-p 0 -f -l . -Lockfile x.lock -AutoRescue 0 -DoRescueFrom 0 -Dag x.dag "
                 f"-Suppress_notification -Dagman {dagman}",
    "environment": "_CONDOR_DAGMAN_LOG=x.dagman.out", "leave_in_queue": "JobStatus == 4",
    "error": str(here / "error"),
}), spool=True)
schedd.spool(result)
mine = f"ClusterId == {result.cluster()}"
deadline = time.monotonic() + 40
while [ad["JobStatus"] for ad in schedd.query(mine, ["JobStatus"])] != [4]:
    if time.monotonic() > deadline:
        sys.exit("the DAG has not ended")
    time.sleep(0.1)
schedd.retrieve(mine)
print((here / "owner.txt").read_text() if (here / "owner.txt").exists() else (here / "error").read_text())
"""


def client(pool: PersonalPool, identity: str, code: str, *arguments: str) -> "subprocess.Popen[str]":
    """A process of its own for an identity: htcondor2 keeps the security session it has once made."""
    env = os.environ | pool.env() | {"_CONDOR_SEC_TOKEN_DIRECTORY": str(pool.export_token(identity))}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: "subprocess.Popen[str]") -> str:
    out, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    return out


def tool(pool: PersonalPool, *command: str, identity: str | None = None) -> "subprocess.CompletedProcess[str]":
    """A tool run as the pool's own client, or as another identity."""
    env = os.environ | pool.env()
    if identity is not None:
        env["_CONDOR_SEC_TOKEN_DIRECTORY"] = str(pool.export_token(identity))
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def processes_of(info: PoolInfo) -> set[str]:
    """The command lines of every process that has to do with a pool: its daemons, its jobs, what these left."""
    found = set()
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except (psutil.Error, OSError):
            continue
        if any(f"{info.directory}/" in word for word in told) and process.pid != os.getpid():
            found.add(" ".join(process.cmdline()))
    return found


def master_of(pool: PersonalPool) -> ProcessRecord:
    record = read_record(pool.layout.pid)
    assert record is not None
    return record
