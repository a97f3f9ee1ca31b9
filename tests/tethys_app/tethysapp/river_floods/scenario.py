"""A scenario: the catchment is prepared once, the model is run, and a report is written."""

import os

from tethys_sdk.jobs import CondorWorkflow, CondorWorkflowJobNode

from .app import App
from .model import MODEL, SCRIPTS, write_rain


def run_scenario(user, name, rain, folder):
    """Submits the three steps of a scenario."""
    workflow = App.get_job_manager().create_job(
        name=name,
        user=user,
        job_type="CONDORWORKFLOW",
        scheduler=App.get_scheduler("pool"),
        max_jobs={"model": 2},
    )
    workflow.save()
    shell = {"executable": "/bin/sh", "transfer_executable": False, "request_memory": "32MB"}
    prepare = CondorWorkflowJobNode(
        name="prepare",
        workflow=workflow,
        attributes=dict(shell, arguments=["prepare.sh"], transfer_output_files="catchment.txt"),
        remote_input_files=[os.path.join(SCRIPTS, "prepare.sh"), write_rain(folder, rain)],
    )
    prepare.save()
    model = CondorWorkflowJobNode(
        name="model",
        workflow=workflow,
        attributes=dict(
            MODEL,
            arguments=["catchment.txt", "levels.txt"],
            transfer_input_files="../prepare/catchment.txt",
            transfer_output_files="levels.txt",
        ),
        retry=1,
    )
    model.save()
    model.add_parent(prepare)
    report = CondorWorkflowJobNode(
        name="report",
        workflow=workflow,
        attributes=dict(
            shell,
            arguments=["-c", "sort -n -k2 levels.txt | tail -1 > report.txt"],
            transfer_input_files="../model/levels.txt",
            transfer_output_files="report.txt",
        ),
    )
    report.save()
    report.add_parent(model)
    workflow.execute()
    return workflow


def steps(workflow_id):
    """Name and status of each step, for the page of a scenario."""
    workflow = CondorWorkflow.objects.get(id=workflow_id)
    return [(node.name, node.status) for node in workflow.node_set.all() if not node.parent_nodes.count()] + [
        (node.name, node.status) for node in workflow.node_set.all() if node.parent_nodes.count()
    ]
