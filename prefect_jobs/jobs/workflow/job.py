"""CONDORWORKFLOW: a DAG of nodes, run by DAGMan at an HTCondor access point."""

import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

from anyio.to_thread import run_sync

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError, SchedulerConnectionError
from prefect_jobs.jobs import submission
from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.condor import poll as condor_watch
from prefect_jobs.jobs.condor.access_point import first_line
from prefect_jobs.jobs.observation import OUTCOME, Observation, OutputsNotFetched
from prefect_jobs.jobs.workflow import logs as workflow_logs
from prefect_jobs.jobs.workflow import node_states as dag_observation
from prefect_jobs.jobs.workflow import poll as workflow_watch
from prefect_jobs.jobs.workflow import rescue as workflow_rescue
from prefect_jobs.jobs.workflow.graph import WorkflowGraph
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorError
from prefect_jobs.schedulers.condor.dag import dagman
from prefect_jobs.schedulers.condor.dag import model as dag
from prefect_jobs.schedulers.condor.dag import reports as dag_reports
from prefect_jobs.schedulers.condor.dag.file import STATUS_NAME
from prefect_jobs.schedulers.condor.dag.staging import DagRequest, stage
from prefect_jobs.schedulers.condor.submit import outputs

log = logging.getLogger(__name__)

#: Seconds that stop() waits for DAGMan to have ended its nodes, and pause() for inputs to have arrived.
PATIENCE = 15.0


class CondorWorkflow(WorkflowGraph):
    """Nodes with dependencies, run by DAGMan at the access point.

    Args (of ``create_job``):
        scheduler: a saved CondorScheduler block or its name; none: this machine's HTCondor.
        max_jobs: category → how many of its nodes may be at work at once.
        config: DAGMan's configuration, for example ``{"DAGMAN_MAX_JOBS_IDLE": 100}``.
        nodes: nodes as dicts (``name``, ``kind``, ``parents`` and the fields of a node), besides those that are
            made with :class:`CondorWorkflowJobNode` and its kin.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.condor_workflow:condor_workflow"
    flow_parameters: ClassVar[tuple[str, ...]] = ("timeout",)
    spec_defaults: ClassVar[Mapping[str, Any]] = {"max_jobs": {}, "config": None, "nodes": ()}

    # -- what the user asked for ------------------------------------------------------------------------

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec from the keyword arguments of ``create_job``.

        Raises:
            ValueError: a bad throttle or configuration.
        """
        return {
            "max_jobs": dag.check_max_jobs(given.get("max_jobs") or {}),
            "config": dag.check_config(given.get("config")),
            "nodes": list(given.get("nodes") or ()),
        }

    @property
    def max_jobs(self) -> dict[str, int]:
        """The throttles: category → how many of its nodes may be at work at once."""
        found: dict[str, int] = self.spec["max_jobs"]
        return found

    def add_max_jobs_throttle(self, category: str, number: int) -> None:
        """Lets at most ``number`` nodes of a category be at work at once.

        Raises:
            ValueError: no category's name, not a number from 1.
        """
        self.spec["max_jobs"] = {**self.max_jobs, **dag.check_max_jobs({category: number})}

    @property
    def config(self) -> dict[str, str]:
        """DAGMan's configuration."""
        found: dict[str, str] = self.spec["config"]
        return found

    # -- as last seen -----------------------------------------------------------------------------------

    @property
    def statuses(self) -> dict[str, int]:
        """How many nodes are ``Unexpanded`` (not submitted yet), ``Idle``, ``Running``, ``Removed``, ``Completed``,
        ``Held``, ``Submission_err`` (failed without a job), by their last try."""
        return dag_observation.count(list(self._states().values()))

    # -- calls ------------------------------------------------------------------------------------------

    def resubmit(self, *, fresh: bool = False) -> None:
        """Runs a workflow that is over once more: what is done already is not run again.

        Args:
            fresh: start over.

        Raises:
            JobStateError: it is not over, or was never submitted.
            SubmissionError: as :meth:`execute`.
        """
        submission.resubmit(self, fresh=fresh)

    async def aresubmit(self, *, fresh: bool = False) -> None:
        """As :meth:`resubmit`."""
        await run_sync(lambda: self.resubmit(fresh=fresh))

    # -- hooks ------------------------------------------------------------------------------------------

    def _execute(self) -> None:
        """Submits the workflow from its beginning."""
        self._start(fresh=True)

    def _resubmit(self, fresh: bool = False) -> None:
        states = self._states()
        work = [node for node in self.nodes if node.kind in dag_observation.WORK]
        # Where nothing is left to be done, "once more" means all of it.
        self._start(fresh=fresh or all(states[node.name].status == statuses.COMPLETE for node in work))

    def _start(self, *, fresh: bool) -> None:
        """Sends the DAG, and what its nodes read, to the access point, with a DAGMan to run it."""
        self._reload()
        dag_nodes = [node._dag_node() for node in self.nodes]
        dag.check_graph(dag_nodes)
        directory = self._make_directory()
        if fresh:
            _forget_rescue(directory)
        # All that may fail comes before the submission: after it, somebody must look after the work.
        done = None if fresh else workflow_rescue.done_before(self.nodes, self._states(), directory)
        nodes = workflow_rescue.begin(self.nodes, self._states(), done)
        with tempfile.TemporaryDirectory(prefix="prefect-jobs-dag-") as folder:
            search = (Path(self._workspace()),)
            last = local_files.search(None)
            stage(DagRequest(dag_nodes, self.max_jobs, directory, search, Path(folder), done, last))
            outputs.clear(directory)
            outputs.prepare(directory, 1, ("",))
            (directory / STATUS_NAME).unlink(missing_ok=True)  # an earlier run's says nothing of this one
            client = self._client()
            with condor_watch.asking():
                cursor, program = workflow_watch.newest_in_history(client), client.dagman()
            text = dagman.describe(
                program,
                stage=Path(folder),
                directory=directory,
                name=self.name,
                token=self._record.submission_token or "",
                config=self.config,
                rescue=done is not None,
            )
            answer = self._hand_over(client, text, 1, spool=True, what="workflow")
            if answer is None:
                return
        self._submitted = {
            "remote_id": answer.cluster_id,
            "cluster": answer.cluster_id,
            "in_queue": True,
            "history": cursor,
            "nodes": nodes,
            "message": f"Submitted as cluster {answer.cluster_id} to {answer.schedd or client.access.title}",
        }

    def _found(self) -> bool:
        client, token = self._client(), self._record.submission_token
        mine = f'PrefectJobsToken == "{token}"'
        attributes = ("ClusterId", "JobStatus", "HoldReasonCode", "StageInStart", "StageInFinish", "PrefectJobsRescue")
        ads = client.query(mine, attributes)
        if ads and "StageInFinish" not in ads[0]:
            # Its files never arrived whole: it cannot run, and is replaced; should they not arrive at this moment.
            why = "its inputs were not sent completely"
            client.act("Remove", f"{mine} && {observation.WAITING}", why)
            client.act("RemoveX", f"{mine} && JobStatus == 3 && StageInFinish =?= undefined", why)
            ads = client.query(mine, attributes)
        ads = [ad for ad in ads or client.history(mine, attributes, match=1) if "StageInFinish" in ad]
        if not ads:
            return False
        cluster, directory = ads[0]["ClusterId"], Path(self.initial_dir)
        self._reload()
        done: list[str] | None = None
        if ads[0].get("PrefectJobsRescue"):
            done = workflow_rescue.done_before(self.nodes, self._states(), directory)
        else:
            _forget_rescue(directory)
        self._submitted = {
            "remote_id": cluster,
            "cluster": cluster,
            "in_queue": True,
            "nodes": workflow_rescue.begin(self.nodes, self._states(), done),
            "message": f"Found again as cluster {cluster}; it was submitted before an interruption.",
        }
        return True

    def _update_status(self) -> Observation:
        return self._observe(self._backend.held_timeout)

    def _observe(self, held_timeout: float | None) -> Observation:
        self._refresh()
        status = self._record.state.as_status
        if status.text == statuses.RESULTS_READY or statuses.is_final(status):
            return Observation(None)  # somebody else has seen its end
        nodes = self._backend.nodes(self._record.id)
        with condor_watch.asking():
            return workflow_watch.observe(self._record, nodes, self._client(), held_timeout)

    def _stop(self) -> Observation:
        client, mine = self._client(), condor_watch.constraint(self._record)
        cluster = self.cluster_id
        with condor_watch.asking():
            client.act("Remove", f"{mine} && JobStatus =!= 4 && JobStatus =!= 3", "stopped by prefect-jobs")
            # DAGMan ends its nodes, runs the FINAL one, and writes down what is done.
            left = f"DAGManJobId == {cluster} || ({mine} && ShadowBday =!= undefined)"
            deadline = time.monotonic() + PATIENCE
            while client.query(left, ("ClusterId",)) and time.monotonic() < deadline:
                Event().wait(0.2)
        return self._observe(None)

    def _pause(self) -> Observation:
        client, mine = self._client(), condor_watch.constraint(self._record)
        deadline = time.monotonic() + PATIENCE
        with condor_watch.asking():
            # For a moment after its files were sent, DAGMan is still in HTCondor's own hold, and cannot be given ours.
            while not client.act("Hold", f"{mine} && (JobStatus == 1 || JobStatus == 2)", "paused by prefect-jobs"):
                if not client.query(f"{mine} && {observation.WAITING}", ("ClusterId",)):
                    break
                if time.monotonic() > deadline:
                    raise JobStateError(f"{self._title()} is still sending its files and cannot be paused; try again.")
                Event().wait(0.2)
            for inner in workflow_watch.inner_dagmans(client, int(self.cluster_id or 0)):
                client.act("Hold", f"ClusterId == {inner} && JobStatus =!= 5", "paused by prefect-jobs")
        return self._observe(None)

    def _resume(self) -> Observation:
        client, mine = self._client(), condor_watch.constraint(self._record)
        held = f"JobStatus == 5 && HoldReasonCode =!= {observation.HOLD_SPOOLING}"
        with condor_watch.asking():
            dags = [int(self.cluster_id or 0), *workflow_watch.inner_dagmans(client, int(self.cluster_id or 0))]
            everything = " || ".join([f"({mine})", *(f"DAGManJobId == {number}" for number in dags)])
            client.act("Release", f"({everything}) && {held}", "resumed by prefect-jobs")
        return self._observe(None)

    def _can_resume(self) -> bool:
        return super()._can_resume() or self.statuses["Held"] > 0

    def _process_results(self) -> None:
        record = self._record
        directory = self._make_directory()
        client, mine = self._client(), condor_watch.constraint(record)
        notes: list[tuple[int, str]] = []
        try:
            over = f"{mine} && (JobStatus == 4 || JobStatus == 3)"
            waiting = client.query(over, ("ClusterId", "JobStatus", "NumJobStarts"))
            began = any(ad["JobStatus"] == 4 or ad.get("NumJobStarts") for ad in waiting)
            if waiting and not began:
                self._apply(None, native={"retrieved": True})  # removed before it ran: there is nothing to fetch
            elif waiting:
                client.edit(mine, "TransferOutput", f'"{dagman.EVERYTHING}"')
                outputs.prepare(directory, 1, ("",))
                client.retrieve(mine)
                self._apply(None, native={"retrieved": True})
            outputs.put_in_place(directory)
            if waiting:
                client.act("Remove", f"{mine} && JobStatus == 4", "outputs fetched by prefect-jobs")
                client.act("RemoveX", f"{mine} && JobStatus == 3", "outputs fetched by prefect-jobs")
        except (CondorError, OSError) as error:
            raise OutputsNotFetched(first_line(error)) from error
        lost = not waiting and not record.native.get("retrieved")
        nodes = self._conclude(directory, lost=lost)
        notes.extend(workflow_logs.tails(nodes, directory))
        self._fetched.update({"in_queue": None, "messages": tuple(notes)})

    def _conclude(self, directory: Path, *, lost: bool) -> list[NodeRecord]:
        """What each node, and the workflow, is at the end, now that DAGMan's own reports are here: the nodes."""
        ended: dict[str, Any] = self._record.native.get("dagman") or {}
        removed = bool(ended.get("removed"))
        before = self._backend.nodes(self._record.id)
        report = {} if lost else dag_reports.read_status(directory)
        nodes = dag_observation.finish(before, report, removed=removed)
        if lost:
            nodes = dag_observation.lose(nodes)
        gave_up = self._record.native.get("gave_up")
        status, message = dag_observation.outcome_of(nodes, ended.get("exit_code"), removed=removed and not gave_up)
        if gave_up:
            message = f"{gave_up} {message}"
        if removed and ended.get("reason") and not gave_up:
            by_us = "prefect-jobs" in str(ended["reason"])
            message = f"{'Stopped' if by_us else str(ended['reason']).rstrip('. ')}. {message}"
        if status == statuses.ERROR and not report:
            said = dag_reports.complaints(directory)
            message = f"DAGMan could not run the DAG (exit code {ended.get('exit_code')}). {said}".strip()
        if lost:
            message = f"{message} Its outputs are lost: DAGMan was taken out of the queue before they were fetched."
        outcome = {**(self._record.native.get(OUTCOME) or {}), "status": status, "message": message}
        changed = tuple(workflow_watch.marked(old, new) for old, new in zip(before, nodes, strict=True) if old != new)
        self._apply(None, native={OUTCOME: outcome})
        self._fetched["nodes"] = changed
        return nodes

    def _get_logs(self) -> dict[str, Any]:
        if self.cluster_id is None:
            return {}
        directory = Path(self.initial_dir)
        states = self._states()
        if self._record.native.get("in_queue") and not statuses.is_final(self._record.state.as_status):
            with self._backend.results_lease(self._record.id) as mine:
                if mine:  # else somebody fetches everything just now
                    self._fetch_logs(directory, states)
        return workflow_logs.read(states.values(), directory)

    def _fetch_logs(self, directory: Path, states: Mapping[str, NodeRecord]) -> None:
        """Fetches the logs so far, and nothing else of what may be large."""
        begun = [state for state in states.values() if dag_observation.tries_of(state)]
        mine = condor_watch.constraint(self._record)
        try:
            client = self._client()
            outputs.prepare(directory, 1, ("",))
            client.edit(mine, "TransferOutput", f'"{dagman.logs([workflow_logs.folder_of(state) for state in begun])}"')
            try:
                client.retrieve(mine)
            finally:
                client.edit(mine, "TransferOutput", f'"{dagman.EVERYTHING}"')
            workflow_logs.sort_in(states.values(), directory)
        except (CondorError, SchedulerConnectionError, OSError) as error:
            log.warning("The logs of %s are as last fetched: %s", self._title(), error)

    def _clean_up(self) -> None:
        if self.remote_id and self._record.native.get("in_queue"):
            mine = condor_watch.constraint(self._record)
            with condor_watch.asking():
                client = self._client()
                client.act("Remove", mine, "no longer wanted by prefect-jobs")
                client.act("RemoveX", f"{mine} && JobStatus == 3", "no longer wanted by prefect-jobs")


def _forget_rescue(directory: Path) -> None:
    """A rescue DAG of an earlier run says nothing about one that begins anew."""
    for path in dag_reports.rescue_files(directory):
        path.unlink(missing_ok=True)
