"""Workflows: a DAG of 1,000 nodes of which none runs anything, and of 100 that do."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.meters import Cpu, requests, timed
from benchmarks.parts import PATIENCE, Parts, check
from benchmarks.results import Row
from prefect_jobs import CondorWorkflow, CondorWorkflowJobNode
from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.jobs.workflow import sources
from prefect_jobs.jobs.workflow.node_states import PROJECTION
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.dag import dagman
from prefect_jobs.schedulers.condor.dag import model as dag
from prefect_jobs.schedulers.condor.dag.staging import DagRequest, stage
from prefect_jobs.schedulers.condor.submit import outputs

LARGE, REAL = 1000, 100
REPEATS = 3
_LAST_POLL = (
    "The last poll, once in a workflow's life, also fetches all outputs, reads DAGMan's report, and reads and writes "
    "every node."
)
_SMALL = {"transfer_executable": False, "request_memory": "16MB", "request_disk": "1MB"}


def layered(given: Parts, name: str, count: int, layers: int, **options: Any) -> CondorWorkflow:
    """An unsaved workflow of so many nodes; each but those of the first layer has two parents."""
    workflow = given.manager.create_job(name, "alice", job_type="CONDORWORKFLOW", scheduler=given.scheduler)
    if not isinstance(workflow, CondorWorkflow):
        raise TypeError(workflow)
    width = count // layers
    nodes: list[CondorWorkflowJobNode] = []
    for number in range(count):
        node = CondorWorkflowJobNode(f"n{number}", workflow, **options)
        layer, place = divmod(number, width)
        for other in {place, (place + 1) % width} if layer else ():
            node.add_parent(nodes[(layer - 1) * width + other])
        node.save()
        nodes.append(node)
    return workflow


def building(given: Parts) -> list[Row]:
    """Making the nodes, checking them, and writing them to SQL."""
    made: list[float] = []
    whole: list[float] = []
    with timed(given.runtime.store, "save_nodes") as written:
        for _ in range(REPEATS):
            began = time.perf_counter()
            workflow = layered(given, "building", LARGE, 10, noop=True)
            dag.check_graph([node.handle.dag_node() for node in workflow.nodes])
            made.append(time.perf_counter() - began)
            began = time.perf_counter()
            workflow.save()
            whole.append(time.perf_counter() - began)
            workflow.delete()
    what = f"{LARGE} nodes"
    return [
        Row(f"{what}: made, linked, saved in memory, checked", median(made), target=0.5, detail=_spread(made)),
        Row(f"{what}: written to SQL, in one call", median(written), detail=_spread(written)),
        Row(f"{what}: save() of the workflow, its run in Prefect included", median(whole), detail=_spread(whole)),
    ]


def submission(given: Parts) -> list[Row]:
    """From execute() to its return, and the same folder handed over by the client alone."""
    _warm_up(given)
    total: list[float] = []
    bare: list[float] = []
    with timed(sources, "stage") as staging, timed(CondorClient, "submit") as transfer:
        for _ in range(REPEATS):
            workflow = layered(given, "submission", LARGE, 10, noop=True)
            began = time.perf_counter()
            workflow.execute()
            total.append(time.perf_counter() - began)
            cluster = _submit_bare(workflow)
            bare.append(transfer.pop())  # that one was not ours
            workflow.engine.client().act("Remove", f"ClusterId == {cluster}", "measured")
            given.settle()
    ours = [whole - moved for whole, moved in zip(total, transfer, strict=True)]
    what = f"Submission of {LARGE} NOOP nodes"
    return [
        Row(f"{what}: execute() to its return, without the transfer", median(ours), target=2.0, detail=_spread(ours)),
        Row(f"{what}: of that, staging", median(staging), detail=_spread(staging)),
        Row(f"{what}: the transfer (submit and spool)", median(transfer), detail=_spread(transfer)),
        Row(
            f"{what}: all of it; bare: the same text and folder by the client alone",
            median(total),
            bare=median(bare),
            detail=_spread(total),
        ),
    ]


def polls(given: Parts) -> list[Row]:
    """What a poll costs, beside the two questions that it asks."""
    _warm_up(given)
    workflow = layered(given, "polls", LARGE, 10, noop=True)
    workflow.execute()
    client, cluster = workflow.engine.client(), workflow.cluster_id
    wall: list[float] = []
    bare: list[float] = []
    spent: list[Cpu] = []
    over, deadline = False, time.monotonic() + PATIENCE
    while not over:
        check(time.monotonic() < deadline, "the workflow is over")
        cursor = workflow.handle.record.native.get("history")
        mine = constraint(workflow.handle.record)
        cpu, began = Cpu.now(), time.perf_counter()
        over = poll_once(workflow)
        wall.append(time.perf_counter() - began)
        spent.append(Cpu.now() - cpu)
        began = time.perf_counter()
        client.query(f"({mine}) || DAGManJobId == {cluster}", PROJECTION)
        client.history(f"DAGManJobId == {cluster}", PROJECTION, since=cursor)
        bare.append(time.perf_counter() - began)
        time.sleep(0.5)
    late = _shown(given, workflow)
    what = f"A poll of {LARGE} NOOP nodes"
    number = f"of {len(spent)} polls"
    own, helpers = [cpu.own for cpu in spent], [cpu.helpers for cpu in spent]
    process = [cpu.own + cpu.showing for cpu in spent]
    return [
        Row(f"{what}: CPU, median", median(own), target=0.3, detail=number),
        Row(f"{what}: CPU, worst", max(own), target=0.3, detail=_which(own), reason=_LAST_POLL),
        Row(f"{what}: CPU, worst, with what is shown in Prefect at that time", max(process)),
        Row(f"{what}: CPU of the helper processes, median", median(helpers), detail=f"worst {max(helpers):.2f} s"),
        Row(
            f"{what}: time; bare: the same two questions by the client alone",
            median(wall),
            bare=median(bare),
            detail=f"last {wall[-1]:.2f} s",
        ),
        Row(f"Prefect, {LARGE} NOOP nodes: from the return of the last poll until all is shown", late),
    ]


def calls(given: Parts) -> list[Row]:
    """Requests to Prefect over the life of nodes that run ``true``, watched closely, so that much can be seen."""
    _warm_up(given)
    with requests() as made:
        workflow = _real(given, "calls", "/bin/true", ())
        workflow.execute()
        deadline = time.monotonic() + PATIENCE
        while not poll_once(workflow):
            check(time.monotonic() < deadline, "the workflow is over")
            time.sleep(0.3)
        late = _shown(given, workflow)
    nodes = sum(number for kind, number in made.items() if "task_runs" in kind)
    others = ", ".join(f"{number} {kind}" for kind, number in made.most_common() if "task_runs" not in kind)
    what = f"Prefect, {REAL} nodes of `true`, watched every 0.3 s"
    return [
        Row(f"{what}: requests about nodes, per node", nodes / REAL, "", target=4, detail=f"{nodes} requests"),
        Row(f"{what}: all other requests, in all", made.total() - nodes, "", detail=others),
        Row(f"{what}: from the return of the last poll until all is shown", late),
    ]


def watching(given: Parts) -> list[Row]:
    """CPU of a process that waits for nodes that take a second each."""
    _warm_up(given)
    workflow = _real(given, "watching", "/bin/sleep", ("1",))
    workflow.execute()
    with requests() as made:
        cpu, began = Cpu.now(), time.perf_counter()
        workflow.wait(PATIENCE)
        wall, spent = time.perf_counter() - began, Cpu.now() - cpu
        late = _shown(given, workflow)
    bare = _run_bare(workflow)
    what = f"{REAL} nodes of `sleep 1`, wait() every {given.runtime.settings.poll_interval:g} s"
    own, all_of_it = spent.own + spent.helpers, spent.own + spent.helpers + spent.showing
    return [
        Row(
            f"{what}: CPU of a core, helper processes included",
            100 * own / wall,
            "%",
            target=5,
            detail=f"{own:.2f} s in {wall:.0f} s, of which {spent.helpers:.2f} s in helpers",
        ),
        Row(
            f"{what}: the same with the thread that shows it in Prefect",
            100 * all_of_it / wall,
            "%",
            target=5,
            detail=f"{all_of_it:.2f} s, {made.total()} requests",
            reason="Each change of a node is a request, which takes about 3 ms in Prefect's client.",
        ),
        Row(f"{what}: until it is over; bare: DAGMan alone, the same folder", wall, bare=bare),
        Row(f"{what}: from the return of the last poll until all is shown in Prefect", late),
    ]


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [building, submission, polls, calls, watching]


def _real(given: Parts, name: str, program: str, words: tuple[str, ...]) -> CondorWorkflow:
    return layered(given, name, REAL, 4, attributes={**_SMALL, "executable": program, "arguments": [*words]})


def _submit_bare(workflow: CondorWorkflow) -> int:
    """The same DAG, staged and described anew, handed over by the client; its cluster."""
    client, directory = workflow.engine.client(), Path(workflow.initial_dir)
    with TemporaryDirectory(prefix="pj-bench-") as folder:
        nodes = [node.handle.dag_node() for node in workflow.nodes]
        stage(DagRequest(nodes, {}, directory, (), Path(folder)))
        outputs.prepare(directory, 1, ("",))
        text = dagman.describe(
            client.dagman(), stage=Path(folder), directory=directory, name="bare", token="", config={}, rescue=False
        )
        return client.submit(text, 1, spool=True).cluster_id


def _run_bare(workflow: CondorWorkflow) -> float:
    """Seconds from the return of a submission until DAGMan has ended, asked for as often as we do."""
    cluster, began = _submit_bare(workflow), time.perf_counter()
    while not workflow.engine.client().query(f"ClusterId == {cluster} && JobStatus == 4", ("ClusterId",)):
        check(time.perf_counter() < began + PATIENCE, "DAGMan has ended")
        time.sleep(workflow.handle.backend.site.poll_interval)
    return time.perf_counter() - began


def _warm_up(given: Parts) -> None:
    """Imports, helper processes, connections, and Prefect's deployment are there, and nothing else is going on."""
    layered(given, "warming up", 2, 2, noop=True).execute()
    given.settle()


def _shown(given: Parts, workflow: CondorWorkflow) -> float:
    """Seconds from now until Prefect shows the workflow and all of its nodes as they are."""
    began = time.perf_counter()
    store = given.runtime.store
    while store.behind([workflow.handle.record.id]) or store.count_nodes_behind(workflow.handle.record.id):
        check(time.perf_counter() < began + PATIENCE, "Prefect shows the workflow")
        time.sleep(0.05)
    check(workflow.cached_status == "Complete", f"it is {workflow.cached_status}: {workflow.status_message}")
    return time.perf_counter() - began


def _which(numbers: list[float]) -> str:
    last = numbers.index(max(numbers)) == len(numbers) - 1
    return "the last one, which fetches all outputs" if last else f"not the last one, {numbers[-1]:.2f}"


def _spread(times: list[float]) -> str:
    return f"{min(times):.2f} to {max(times):.2f}, {len(times)} times"
