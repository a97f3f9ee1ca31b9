"""The flow of a job's type, and the parameters with which a copy of the job's run in Prefect makes such a job."""

import inspect
import json
import logging
from typing import Any

from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.projection.deployments import load_flow
from prefect_jobs.projection.run_faces import Form
from prefect_jobs.records import JobRecord
from prefect_jobs.store import Store

log = logging.getLogger(__name__)

#: Runs of jobs whose parameters are longer, in characters of JSON, have those only that name the job. Prefect accepts
#: 512 kB, and reads them with every list of runs.
_LIMIT = 100_000


def form_of(record: JobRecord, store: Store) -> Form:
    """The form of a job's run; the flow is the basic one if the type, or its flow, cannot be loaded here."""
    names = {"name": record.name, "user": record.user, "app": record.label}
    try:
        cls = registry.load(record.type) or Job
        takes = inspect.signature(load_flow(cls.flow_entrypoint).fn).parameters
    except Exception as error:  # importing a user's module may raise anything
        log.warning("The flow of the job type %r cannot be loaded: %s", record.type, error)
        return Form(Job.flow_entrypoint, names)
    names = {key: value for key, value in names.items() if key in takes}
    try:
        found = {key: value for key, value in _parameters(record, cls, store).items() if key in takes}
        if len(json.dumps(found)) <= _LIMIT:
            return Form(cls.flow_entrypoint, {**found, **names})
    except Exception as error:  # a user's type may raise anything; the job must be shown
        log.warning("The parameters of the run of job %s are left out: %s", record.id, error)
    return Form(cls.flow_entrypoint, names)


def _parameters(record: JobRecord, cls: type[Job], store: Store) -> dict[str, Any]:
    nodes = [{**node.spec, "name": node.name} for node in store.nodes(record.id)] if cls.has_nodes else []
    common = {
        "description": record.description,
        "workspace": record.workspace,
        "extended_properties": record.extended_properties,
        "process_results_function": record.process_results_function,
        "scheduler": record.scheduler,
        "timeout": record.timeout,
    }
    return {key: value for key, value in {**common, **cls.parameters_of_run(record.spec, nodes)}.items() if value}
