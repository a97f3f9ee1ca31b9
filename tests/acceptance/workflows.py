"""Workflows for the tests: nodes that run lines of shell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import CondorWorkflow, CondorWorkflowJobNode, CondorWorkflowNode, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs import submission
from prefect_jobs.records import Change
from tests.support import eventually

SMALL = {"request_memory": "16MB", "request_disk": "1MB"}


def shell(line: str, *words: str, **commands: Any) -> dict[str, Any]:
    """Submit commands that run a line of shell, with words as its arguments."""
    return {
        **SMALL,
        "executable": "/bin/sh",
        "transfer_executable": False,
        "arguments": ["-c", line, "sh", *words],
        **commands,
    }


def workflow_of(manager: JobManager, scheduler: CondorScheduler, name: str, **more: Any) -> CondorWorkflow:
    """An empty workflow of alice."""
    made = manager.create_job(name, "alice", job_type="CONDORWORKFLOW", scheduler=scheduler, **more)
    assert isinstance(made, CondorWorkflow)
    return made


def node(
    workflow: CondorWorkflow,
    name: str,
    line: str = "true",
    after: str = "",
    *,
    kind: type[CondorWorkflowJobNode] = CondorWorkflowJobNode,
    commands: Mapping[str, Any] | None = None,
    words: tuple[str, ...] = (),
    **options: Any,
) -> CondorWorkflowNode:
    """A saved node that runs a line of shell after others, which are named with spaces between."""
    made = kind(name, workflow, attributes=shell(line, *words, **(commands or {})), **options)
    for parent in after.split():
        found = workflow.get_job(parent)
        assert found is not None
        made.add_parent(found)
    made.save()
    return made


def node_of(workflow: CondorWorkflow, name: str) -> CondorWorkflowNode:
    """The node of that name, which there is."""
    found = workflow.get_job(name)
    assert found is not None
    return found


def diamond(workflow: CondorWorkflow, *, b: str = "true", c: str = "true") -> None:
    """A before B and C, both before D; each hands on what it wrote. B and C run a line of shell more."""
    node(workflow, "A", "echo from A > a.txt")
    for name, more in (("B", b), ("C", c)):
        line = f"cat a.txt > {name}.txt; echo from {name} >> {name}.txt; {more}"
        node(workflow, name, line, "A", commands={"transfer_input_files": "../A/a.txt"})
    inputs = ["../B/B.txt", "../C/C.txt"]
    node(workflow, "D", "cat B.txt C.txt > all.txt", "B C", commands={"transfer_input_files": inputs})


def written(workflow: CondorWorkflow, path: str) -> str:
    """What is in a file of the workflow's directory."""
    return (Path(workflow.initial_dir) / path).read_text()


def crash_when_submitted(workflow: CondorWorkflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executes the workflow in a process that dies when the access point has it and nobody has written so."""
    monkeypatch.setattr(submission, "accepted", lambda job, submitted: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        workflow.execute()
    monkeypatch.undo()
    arrived = f'PrefectJobsToken == "{workflow.handle.record.submission_token}" && StageInFinish > 0'
    eventually(lambda: workflow.engine.client().query(arrived, ("ClusterId",)), "its files have arrived")
    workflow.handle.backend.jobs.update(workflow.handle.record.id, lambda fresh: Change({"submitting_since": None}))
