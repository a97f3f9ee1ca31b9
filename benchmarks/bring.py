"""What people bring: many items in one job, a large DAG file, and clusters of many processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.meters import Cpu
from benchmarks.monitoring import memory_of, statements_of
from benchmarks.parts import PATIENCE, Parts, check
from benchmarks.results import Row
from benchmarks.submissions import monitor
from prefect_jobs import CondorJob, CondorWorkflow
from prefect_jobs.jobs.condor.group import CondorGroup
from prefect_jobs.jobs.polling import poll_once

ITEMS, NODES = 10_000, 10_000
#: Clusters whose processes a monitor watches.
CLUSTERS = 3
REPEATS = 3
#: Seconds for which a monitor works before its memory is read.
MINUTE = 60.0
#: Nothing runs: the pool is for what is measured.
_IDLE = {"request_memory": "16MB", "request_disk": "1MB", "requirements": "False"}
#: htcondor2 alone, in a process of its own, with the token of the same user.
BARE = """
import json, sys, time
import htcondor2
folder, count = sys.argv[1], int(sys.argv[2])
schedd = htcondor2.Schedd(htcondor2.Collector().locate(htcondor2.DaemonType.Schedd))
schedd.query("false", ["ClusterId"])
description = htcondor2.Submit(f'''executable = {folder}/job.sh
arguments = $(year) $(basin)
initialdir = {folder}
output = out.$(Process)
error = err.$(Process)
log = log
request_memory = 16
request_disk = 1024
requirements = False
transfer_executable = true
should_transfer_files = yes
when_to_transfer_output = on_exit
''')
items = [{"year": str(number), "basin": f"basin {number}"} for number in range(count)]
began = time.perf_counter()
made = schedd.submit(description, spool=True, itemdata=iter(items))
schedd.spool(made)
print(json.dumps([time.perf_counter() - began, made.cluster()]))
"""


def items(given: Parts) -> list[Row]:
    """execute() of a job with many items; bare: submit and spool of as many by htcondor2 alone."""
    script = given.folder / "job.sh"
    script.write_text("#!/bin/sh\necho $1\n")
    script.chmod(0o755)
    whole: list[float] = []
    created: list[float] = []
    plain: list[float] = []
    for count in (10, *[ITEMS] * REPEATS):  # the first is to warm up
        began = time.perf_counter()
        job = _many(given, script, count)
        created.append(time.perf_counter() - began)
        began = time.perf_counter()
        job.execute()
        whole.append(time.perf_counter() - began)
        plain.append(_bare(given, count))
        _remove(given)
    mine, bare = whole[1:], plain[1:]
    ratio = median(one / other for one, other in zip(mine, bare, strict=True))
    what = f"A job with {ITEMS:,} items"
    return [
        Row(f"{what}: create_job()", median(created[1:]), detail=_spread(created[1:])),
        Row(f"{what}: execute(); bare: htcondor2 alone", median(mine), bare=median(bare), detail=_spread(mine)),
        Row(f"{what}: execute() as a multiple of htcondor2 alone", ratio, "", target=1.3),
    ]


def dag_file(given: Parts) -> list[Row]:
    """Reading and checking a large DAG file, and its polls while DAGMan works on it."""
    folder = given.folder / "large"
    folder.mkdir()
    (folder / "node.sub").write_text("executable = /bin/true\ntransfer_executable = false\nqueue\n")
    lines = [f"JOB n{number} node.sub NOOP" for number in range(NODES)]
    lines += [f"PARENT n{number // 10} CHILD n{number}" for number in range(1, NODES)]
    (folder / "large.dag").write_text("\n".join(lines) + "\n")
    read: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        workflow = given.manager.create_job(
            "large", "alice", job_type="CONDORWORKFLOW", scheduler=given.scheduler, dag_file=folder / "large.dag"
        )
        read.append(time.perf_counter() - began)
    check(isinstance(workflow, CondorWorkflow) and len(workflow.nodes) == NODES, "it has all nodes")
    began = time.perf_counter()
    workflow.execute()
    executed = time.perf_counter() - began
    spent: list[Cpu] = []
    deadline, over = time.monotonic() + PATIENCE, False
    while not over:
        check(time.monotonic() < deadline, "the workflow is over")
        cpu = Cpu.now()
        over = poll_once(workflow)
        spent.append(Cpu.now() - cpu)
        time.sleep(0.5)
    own = [cpu.own for cpu in spent]
    what = f"A DAG file of {NODES:,} nodes"
    return [
        Row(f"{what}: create_job(), which reads and checks it", median(read), target=1.0, detail=_spread(read)),
        Row(f"{what}: execute()", executed),
        Row(f"{what}, NOOP: a poll, CPU, median", median(own), target=0.3, detail=f"of {len(own)} polls"),
        Row(f"{what}, NOOP: a poll, CPU, worst", max(own), detail="the last one, once, reads and writes every node"),
    ]


def processes(given: Parts) -> list[Row]:
    """Polls of clusters of many processes without news, and the memory of a monitor that watches them."""
    script = given.folder / "many.sh"
    script.write_text("#!/bin/sh\necho $1\n")
    script.chmod(0o755)
    before = _monitored()
    jobs = [_many(given, script, ITEMS) for _ in range(CLUSTERS)]
    for job in jobs:
        job.execute()
    given.settle()
    group = CondorGroup()
    group.poll(jobs)
    for job in jobs:
        poll_once(job)
    spent: list[float] = []
    with statements_of(given) as statements:
        for _ in range(10):
            cpu = Cpu.now()
            group.poll(jobs)
            spent.append((Cpu.now() - cpu).own)
    writes = [one for one in statements if not one.lstrip().upper().startswith("SELECT")]
    memory = _monitored() - before
    _remove(given)
    what = f"{CLUSTERS} clusters of {ITEMS:,} processes"
    total = CLUSTERS * ITEMS
    return [
        Row(
            f"{what}: a poll without news, CPU, median",
            median(spent),
            detail=f"worst {max(spent):.2f} s of {len(spent)}",
        ),
        Row(f"{what}: writes to SQL of 10 polls without news", len(writes), "", target=0),
        Row(
            f"{what}: resident memory of the monitor and its helpers beyond that without jobs, for each process",
            1024 * memory / total,
            "KiB",
            target=2,
        ),
    ]


def _monitored() -> float:
    """The resident memory of a monitor and its processes with the present jobs, in MiB, once it has read all several
    times."""
    with monitor({**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        time.sleep(MINUTE)
        check(process.poll() is None, "the monitor runs")
        return memory_of(psutil.Process(process.pid))


def _many(given: Parts, script: Path, count: int) -> CondorJob:
    """An unsaved job with items."""
    made: Any = given.manager.create_job(
        "many", "alice", job_type="CONDOR", scheduler=given.scheduler, remote_input_files=[script],
        attributes={**_IDLE, "executable": script.name, "arguments": "$(year) $(basin)"},
        items=[{"year": str(number), "basin": f"basin {number}"} for number in range(count)],
    )  # fmt: skip
    check(isinstance(made, CondorJob), "it is a Condor job")
    found: CondorJob = made
    return found


def _bare(given: Parts, count: int) -> float:
    """Seconds of the same by htcondor2."""
    folder = given.folder / "bare"
    folder.mkdir(exist_ok=True)
    (folder / "job.sh").write_text("#!/bin/sh\necho $1\n")
    environment = {
        **os.environ,
        **given.pool.env(),
        "_CONDOR_SEC_TOKEN_DIRECTORY": str(given.pool.export_token("alice")),
    }
    command = [sys.executable, "-c", BARE, str(folder), str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    check(done.returncode == 0, f"htcondor2 submits them: {done.stderr}")
    return float(done.stdout.strip().strip("[]").split(",")[0])


def _remove(given: Parts) -> None:
    """Empties the queue."""
    client = given.scheduler.get_client()
    client.act("Remove", "true", "measured")
    client.act("RemoveX", "JobStatus == 3", "measured")
    deadline = time.monotonic() + PATIENCE
    while client.query("true", ("ClusterId",)):
        check(time.monotonic() < deadline, "the queue is empty")
        time.sleep(0.5)


def _spread(times: list[float]) -> str:
    return f"{min(times):.2f} to {max(times):.2f}, {len(times)} times"


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [items, dag_file, processes]
