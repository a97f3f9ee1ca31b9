"""Where the DAG of a workflow comes from: its nodes, or an existing file. Both are sent to the access point."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.workflow import dag_file, rescue
from prefect_jobs.jobs.workflow.node_handle import NodeHandle
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor.dag import existing_files, model, reports
from prefect_jobs.schedulers.condor.dag.dagman import Existing
from prefect_jobs.schedulers.condor.dag.file import STATUS_NAME
from prefect_jobs.schedulers.condor.dag.staging import RESCUE_NAME, DagRequest, stage


class OfNodes:
    """A DAG whose file is written from the nodes of the workflow."""

    #: The folder of the DAG, and the node status file, in the job directory.
    folder: str = "."
    status_file: str = STATUS_NAME

    def __init__(self, spec: Mapping[str, Any], nodes: Sequence[NodeHandle]) -> None:
        """
        Raises:
            DagError: DAGMan would refuse it.
        """
        self._spec = spec
        self._nodes = nodes
        self._check()

    def _check(self) -> None:
        self._dag_nodes = [node.dag_node() for node in self._nodes]
        model.check_graph(self._dag_nodes)

    @property
    def config(self) -> Mapping[str, str]:
        """DAGMan's configuration, besides that of the workflow."""
        return {}

    def forget(self, directory: Path) -> None:
        """Removes the rescue DAGs of earlier runs, which do not apply to a run from the start."""
        forget_rescue(directory / self.folder)

    def take_rescue(self, home: Path) -> bool:
        """Takes the rescue DAG beside the DAG file into the folder of the DAG; returns whether there is one."""
        return False

    def done_before(self, states: Mapping[str, NodeRecord], directory: Path) -> list[str]:
        """The nodes that are done already, as DAGMan names them."""
        return rescue.done_before(self._nodes, states, directory)

    def stage(
        self, folder: Path, directory: Path, search: Sequence[Path], done: Sequence[str] | None
    ) -> Existing | None:
        """Builds the folder that is sent; returns what an existing file asks of DAGMan.

        Args:
            folder: an empty folder.
            directory: the job directory.
            search: other folders for the files of nodes.
            done: the result of :meth:`done_before`; ``None``: all nodes run.

        Raises:
            ValueError: a node that HTCondor would not accept, a file that is missing.
            OSError: it cannot be written.
        """
        last = local_files.search(None)
        stage(DagRequest(self._dag_nodes, self._spec["max_jobs"], directory, search, folder, done, last))
        return None


class OfFile(OfNodes):
    """A DAG that has a file already."""

    def _check(self) -> None:
        #: Whether rescue DAGs beside inner DAGs count.
        self._rescues = True
        self._dag, self._sent = dag_file.read_again(self._spec, self._nodes)
        places = dag_file.places_of(self._spec)
        self.folder, self.status_file = places["folder"], places["status"]

    @property
    def config(self) -> Mapping[str, str]:
        """That of the file that CONFIG names."""
        return self._dag.config

    def forget(self, directory: Path) -> None:
        """As :meth:`OfNodes.forget`; of inner DAGs, too."""
        super().forget(directory)
        self._rescues = False
        for name in existing_files.dag_files(self._dag, self._sent):
            file = directory / name
            for path in (*reports.rescue_files(file.parent, file.name), file.with_name(f"{file.name}.dagman.out")):
                path.unlink(missing_ok=True)

    def take_rescue(self, home: Path) -> bool:
        """As :meth:`OfNodes.take_rescue`: the newest one, as condor_submit_dag does."""
        self._rescues = True
        path = self._dag.path
        done = reports.read_rescue(path.parent, path.name)
        if done is None:
            return False
        home.mkdir(parents=True, exist_ok=True)
        (home / RESCUE_NAME).write_text("".join(f"DONE {name}\n" for name in done))
        return True

    def done_before(self, states: Mapping[str, NodeRecord], directory: Path) -> list[str]:
        """As :meth:`OfNodes.done_before`."""
        return dag_file.done_before(self._nodes, states, directory / self.folder)

    def stage(
        self, folder: Path, directory: Path, search: Sequence[Path], done: Sequence[str] | None
    ) -> Existing | None:
        """As :meth:`OfNodes.stage`."""
        inner = {node.name for node in self._nodes if node.spec.get(dag_file.OWNER)}
        existing_files.stage(
            self._dag,
            self._sent,
            folder,
            self._spec["max_jobs"],
            earlier=None if done is None else directory,
            done=None if done is None else [name for name in done if name not in inner],
            rescues=self._rescues,
        )
        inherited = {name: os.environ[name] for name in self._dag.inherited if name in os.environ}
        return Existing(self._sent.folder, {**inherited, **self._dag.environment}, self._dag.attributes)


def forget_rescue(folder: Path) -> None:
    """Removes the rescue DAGs of earlier runs from the folder of the DAG."""
    for path in reports.rescue_files(folder):
        path.unlink(missing_ok=True)


def of(spec: Mapping[str, Any], nodes: Sequence[NodeHandle]) -> OfNodes:
    """The source of a workflow.

    Raises:
        DagError: DAGMan would refuse it.
        SubmissionError: its DAG file has changed.
    """
    return (OfFile if spec.get(dag_file.OPTION) else OfNodes)(spec, nodes)
