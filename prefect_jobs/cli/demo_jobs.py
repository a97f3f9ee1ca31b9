"""The jobs of the demo: their programs, their steering, and their expected ends."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_jobs.cli.output import say

if TYPE_CHECKING:
    from prefect_jobs import CondorWorkflow, CondorWorkflowNode, Job, JobManager
    from prefect_jobs.blocks import CondorScheduler

_PROGRAMS = {
    "sum.sh": """#!/bin/sh
# Adds up the numbers in the file named as its argument.
echo "adding up $1 on $(hostname)"
sleep 2
total=0
while read -r number; do total=$((total + number)); done < "$1"
echo "$total" > total.txt
""",
    "fail.sh": """#!/bin/sh
echo "looking for the data" ; sleep 1
echo "no data for this year" >&2
exit 3
""",
    "part.sh": """#!/bin/sh
echo "part $1 of 3" ; sleep $((1 + $1))
echo "result of part $1" > part-$1.txt
""",
    "long.sh": """#!/bin/sh
echo "this takes an hour" ; sleep 3600
""",
    "forcing.sh": """#!/bin/sh
echo "making the forcing" ; sleep 1
seq 1 12 > forcing.txt
""",
    "model.sh": """#!/bin/sh
# Runs a model of the kind $1 with its parameters on the forcing.
factor=$(cat "$1.par")
case $factor in *[!0-9]*) echo "$1.par: '$factor' is not a number" >&2 ; exit 4 ;; esac
sleep 2
while read -r month; do echo $((month * factor)); done < forcing.txt > "$1.txt"
""",
    "compare.sh": """#!/bin/sh
paste wet.txt dry.txt > comparison.txt
""",
}


#: Seconds for which people can see the failed workflow.
SEEN = 6.0
_failed_since: dict[int, float] = {}


def _nothing(job: "Job", acts: "list[Act]") -> bool:
    return False


@dataclass
class Act:
    """A job of the demo and its expected end."""

    job: "Job"
    status: str
    #: Prefect's state type at the end.
    state: str
    #: Checks its outputs; returns what is wrong.
    look: Callable[["Job"], str | None] = lambda _: None
    #: The graph that Prefect must draw: node → its parents.
    graph: Mapping[str, set[str]] = field(default_factory=dict)
    #: Steers the job after each poll; returns whether a job that was over continues.
    steer: "Callable[[Job, list[Act]], bool]" = _nothing
    #: The arguments of ``execute``.
    work: tuple[Any, ...] = ()


def make_jobs(base: Path, pool: Any) -> list[Act]:
    """Creates and submits the jobs."""
    from prefect_jobs import App, create_condor_scheduler, create_dask_scheduler
    from prefect_jobs.blocks import register_blocks

    class Demo(App):
        name = "Demo"
        package = "demo"

    for name, text in _PROGRAMS.items():
        (base / name).write_text(text)
        (base / name).chmod(0o755)
    (base / "numbers.txt").write_text("".join(f"{number}\n" for number in range(1, 101)))

    register_blocks()
    info = pool.status().info
    scheduler = create_condor_scheduler("demo-pool", info.host, port=info.port, token=pool.token("alice"))
    scheduler.save()
    say(scheduler.check() + "\n")
    # Without a host: a cluster on this machine that ends with this process.
    dask = create_dask_scheduler("demo-dask", "")
    dask.save()
    say(dask.check() + "\n")
    manager = Demo.get_job_manager()
    acts = [*_jobs(base, manager, scheduler), *_dask_jobs(manager, dask)]
    for act in acts:
        act.job.execute(*act.work)
    return acts


def _jobs(base: Path, manager: "JobManager", scheduler: "CondorScheduler") -> list[Act]:
    def condor(name: str, program: str, **more: Any) -> "Job":
        attributes = {"executable": str(base / program), "request_memory": "64MB", **more.pop("attributes", {})}
        return manager.create_job(name, "alice", job_type="CONDOR", scheduler=scheduler, attributes=attributes, **more)

    return [
        Act(manager.create_job("by hand {id}", "alice", job_type="BASIC"), "Complete", "COMPLETED", steer=_by_hand),
        Act(
            condor(
                "sum {id}",
                "sum.sh",
                attributes={"arguments": ["numbers.txt"]},
                remote_input_files=[str(base / "numbers.txt")],
            ),
            "Complete",
            "COMPLETED",
            lambda job: _file(job, "total.txt", "5050"),
        ),
        Act(
            condor("no data {id}", "fail.sh"),
            "Error",
            "FAILED",
            lambda job: None if "3" in job.status_message else "no exit code",
        ),
        Act(
            condor("three parts {id}", "part.sh", num_jobs=3, attributes={"arguments": "$(Process)"}),
            "Complete",
            "COMPLETED",
            lambda job: _file(job, "part-2.txt", "result of part 2"),
        ),
        Act(condor("stopped half-way {id}", "long.sh"), "Aborted", "CANCELLED", steer=_stopped),
        Act(
            _two_models(base, manager, scheduler),
            "Complete",
            "COMPLETED",
            lambda job: _file(job, "compare/comparison.txt", "\n".join(f"{2 * n}\t{3 * n}" for n in range(1, 13))),
            graph={"forcing": set(), "wet": {"forcing"}, "dry": {"forcing"}, "compare": {"wet", "dry"}},
            steer=_corrected,
        ),
    ]


def _dask_jobs(manager: "JobManager", scheduler: Any) -> list[Act]:
    """A job of one delayed graph, and a job of three leaves."""
    from dask.delayed import delayed

    months = [delayed(_rain)(month) for month in range(1, 13)]
    year = delayed(sum)(months)
    seasons = {"spring": delayed(sum)(months[2:5]), "summer": delayed(sum)(months[5:8]), "year": year}
    return [
        Act(
            manager.create_job("rain of a year {id}", "alice", job_type="DASK", scheduler=scheduler),
            "Complete",
            "COMPLETED",
            lambda job: _result(job, 780),
            work=(year,),
        ),
        Act(
            manager.create_job("rain of seasons {id}", "alice", job_type="DASK", scheduler=scheduler),
            "Complete",
            "COMPLETED",
            lambda job: _result(job, {"spring": 120, "summer": 210, "year": 780}),
            work=(seasons,),
        ),
    ]


def _rain(month: int) -> int:
    """Runs on the workers of the cluster."""
    time.sleep(0.5)
    return 10 * month


def _two_models(base: Path, manager: "JobManager", scheduler: "CondorScheduler") -> "Job":
    """A diamond with a branch that fails until its parameters are corrected."""
    from prefect_jobs import CondorWorkflow, CondorWorkflowJobNode

    (base / "wet.par").write_text("2\n")
    (base / "dry.par").write_text("three\n")
    workflow = manager.create_job("two models {id}", "alice", job_type="CONDORWORKFLOW", scheduler=scheduler)
    assert isinstance(workflow, CondorWorkflow)  # noqa: S101

    def node(name: str, program: str, *after: "CondorWorkflowNode", **more: Any) -> "CondorWorkflowNode":
        commands = {"executable": str(base / program), "request_memory": "64MB", **more.pop("attributes", {})}
        made = CondorWorkflowJobNode(name, workflow, attributes=commands, **more)
        for parent in after:
            made.add_parent(parent)
        made.save()
        return made

    forcing = node("forcing", "forcing.sh")
    models = [
        node(
            kind,
            "model.sh",
            forcing,
            attributes={"arguments": [kind], "transfer_input_files": "../forcing/forcing.txt"},
            remote_input_files=[str(base / f"{kind}.par")],
        )
        for kind in ("wet", "dry")
    ]
    inputs = {"transfer_input_files": ["../wet/wet.txt", "../dry/dry.txt"]}
    node("compare", "compare.sh", *models, attributes=inputs)
    return workflow


def _by_hand(job: "Job", acts: list[Act]) -> bool:
    """Runs as long as any other job."""
    from prefect_jobs import statuses

    if job.cached_status == statuses.SUBMITTED:
        job.status = statuses.RUNNING
    others = (act.job.handle.record.state.as_status for act in acts if act.job is not job)
    if job.cached_status == statuses.RUNNING and all(statuses.is_final(status) for status in others):
        job.status = statuses.COMPLETE
    return False


def _stopped(job: "Job", acts: list[Act]) -> bool:
    from prefect_jobs import statuses

    if job.cached_status == statuses.RUNNING:
        job.stop()
    return False


def _corrected(job: "Job", acts: list[Act]) -> bool:
    """Corrects the parameters, then continues from the rescue DAG."""
    from prefect_jobs import statuses

    if job.cached_status != statuses.VARIOUS_COMPLETE:
        return False
    workflow: CondorWorkflow = job  # type: ignore[assignment]
    failed = workflow.get_job("dry")
    assert failed is not None  # noqa: S101
    parameters = Path(failed.remote_input_files[0])
    if parameters.read_text() == "3\n":
        return False  # corrected already, and failed again
    if time.monotonic() - _failed_since.setdefault(workflow.id or 0, time.monotonic()) < SEEN:
        return True
    parameters.write_text("3\n")
    say(f"{job.name}: {parameters.name} is corrected; resubmit() continues from the rescue DAG")
    job.resubmit()
    return True


def _result(job: Any, wanted: Any) -> str | None:
    return None if job.result == wanted else f"its result is {job.result!r}, not {wanted!r}"


def _file(job: Any, name: str, text: str) -> str | None:
    path = Path(job.initial_dir) / name
    found = path.read_text().strip() if path.is_file() else "nothing"
    return None if found == text else f"{name} holds {found!r}, not {text!r}"
