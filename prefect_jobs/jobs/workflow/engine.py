"""A DAG at an HTCondor access point: submitted with a DAGMan to run it, polled, steered, fetched."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError, SchedulerConnectionError
from prefect_jobs.folders import TemporaryFolder
from prefect_jobs.jobs import log_file
from prefect_jobs.jobs.condor import foreign
from prefect_jobs.jobs.condor.access_point import AccessPointEngine, first_line, found_text, submitted_text
from prefect_jobs.jobs.condor.ads import of_token
from prefect_jobs.jobs.condor.state import encode
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.jobs.observation import NOTHING_NEW, Fetched, Observation, OutputsNotFetched, Submitted
from prefect_jobs.jobs.workflow import dag_file, logs, node_ends, node_states, poll, rescue, sources
from prefect_jobs.jobs.workflow.graph import WorkflowGraph
from prefect_jobs.jobs.workflow.node_states import DAGMAN_UNIVERSE
from prefect_jobs.jobs.workflow.state import WorkflowState, encode_history
from prefect_jobs.noted import Outcome
from prefect_jobs.records import JobRecord, NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.access import CondorError
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.dag import dagman, reports
from prefect_jobs.schedulers.condor.submit import outputs

log = logging.getLogger(__name__)

#: Seconds that a stop waits until DAGMan has ended its nodes, and a pause until the inputs are spooled.
PATIENCE = 15.0
#: Attributes that show whether the files of a submission are spooled.
_ARRIVAL = ("ClusterId", "JobStatus", "HoldReasonCode", "StageInStart", "StageInFinish", "PrefectJobsRescue")
_FETCHED = "outputs fetched by prefect-jobs"
_NOT_WANTED = "no longer wanted by prefect-jobs"


class WorkflowEngine(AccessPointEngine):
    """A DAG of nodes, run by DAGMan."""

    together: ClassVar[bool] = False
    word: ClassVar[str] = "workflow"

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        self.graph = WorkflowGraph(handle, self)

    @property
    def state(self) -> WorkflowState:
        """The state of the DAG."""
        return WorkflowState(self.handle.record)

    @property
    def own_procs(self) -> str:
        """As :attr:`AccessPointEngine.own_procs`: those of nodes; DAGMan's own jobs do no work."""
        dags = [self.cluster, *self.state.inner]
        nodes = " || ".join(f"DAGManJobId == {number}" for number in dags)
        return f"({nodes}) && JobUniverse =!= {DAGMAN_UNIVERSE}"

    @staticmethod
    def may_wait(record: JobRecord) -> bool:
        """As :meth:`Engine.may_wait`: its row does not tell."""
        return record.state.status in (statuses.SUBMITTED, statuses.VARIOUS)

    @property
    def cluster(self) -> int:
        """The cluster id of DAGMan's job."""
        return int(self.handle.record.remote_id or 0)

    @property
    def _places(self) -> dict[str, str]:
        return dag_file.places_of(self.handle.record.spec)

    def save_parts(self) -> None:
        """Writes the nodes that were changed."""
        self.graph.save_changed()

    # -- submission -------------------------------------------------------------------------------------

    def submit(self) -> Submitted:
        """Submits the workflow from the start."""
        return self._start(fresh=True, first=True)

    def resubmit(self, *, fresh: bool = False) -> Submitted:
        """Submits the nodes that are not done; with ``fresh``, or if all are done, all of them."""
        states = self.graph.states()
        work = [node for node in self.graph.nodes() if node.kind in node_states.WORK]
        return self._start(fresh=fresh or all(states[node.name].status == statuses.COMPLETE for node in work))

    def _start(self, *, fresh: bool, first: bool = False) -> Submitted:
        """Sends the DAG, and the files that its nodes read, to the access point, with a DAGMan to run it.

        Args:
            fresh: whether all nodes run.
            first: whether a rescue DAG beside an existing file counts all the same.
        """
        self.graph.reload()
        graph, states = self.graph.nodes(), self.graph.states()
        source = sources.of(self.handle.drafts.spec, graph)
        directory, spec = self.make_directory(), self.handle.drafts.spec
        home = directory / source.folder
        if fresh:
            source.forget(directory)
        if first and source.take_rescue(home):
            fresh = False
        # All that may fail comes before the submission: afterwards the work exists.
        done = None if fresh else source.done_before(states, directory)
        nodes = rescue.begin(graph, states, done)
        with TemporaryFolder("dag") as folder:
            existing = source.stage(folder, directory, (self.workspace,), done)
            outputs.clear(directory)
            outputs.prepare(directory, 1, ("",))
            (directory / source.status_file).unlink(missing_ok=True)  # that of an earlier run says nothing of this one
            client = self.client()
            cursor, program = poll.newest_in_history(client), client.dagman()
            text = dagman.describe(
                program,
                stage=folder,
                directory=directory,
                name=self.handle.name,
                token=self.handle.token,
                config={**source.config, **spec["config"]},
                rescue=done is not None,
                existing=existing,
            )
            answer = self.hand_over(client, text, 1, spool=True)
        if isinstance(answer, Submitted):
            return answer
        native = {**encode(cluster=answer.cluster_id, in_queue=True), **encode_history(cursor)}
        return Submitted(answer.cluster_id, native, submitted_text(answer, client), nodes)

    def found(self, client: CondorClient) -> Submitted | None:
        """As :meth:`AccessPointEngine.found`."""
        mine = of_token(self.handle.token)
        ads = client.query(mine, _ARRIVAL)
        if ads and "StageInFinish" not in ads[0]:
            # Its files are not spooled completely: it cannot run, and is replaced, unless spooling ends at this moment.
            why = "its inputs were not sent completely"
            client.act("Remove", f"{mine} && {observation.WAITING}", why)
            client.act("RemoveX", f"{mine} && JobStatus == 3 && StageInFinish =?= undefined", why)
            ads = client.query(mine, _ARRIVAL)
        ads = [ad for ad in ads or client.history(mine, _ARRIVAL, match=1) if "StageInFinish" in ad]
        if not ads:
            return None
        cluster, directory = int(ads[0]["ClusterId"]), self.initial_dir
        self.graph.reload()
        graph, states = self.graph.nodes(), self.graph.states()
        done: list[str] | None = None
        home = directory / self._places["folder"]
        if not ads[0].get("PrefectJobsRescue"):
            sources.forget_rescue(home)
        elif self.handle.record.spec.get(dag_file.OPTION):
            done = dag_file.done_before(graph, states, home)
        else:
            done = rescue.done_before(graph, states, directory)
        nodes = rescue.begin(graph, states, done)
        return Submitted(cluster, encode(cluster=cluster, in_queue=True), found_text(cluster), nodes)

    # -- while it is in the queue -----------------------------------------------------------------------

    @staticmethod
    def held_parts(record: JobRecord) -> bool:
        """Whether a node may be held: the row does not know more, so :meth:`Job.resume` reads the nodes."""
        return record.state.status == statuses.VARIOUS

    def parts_held(self) -> bool:
        """Whether a node is held."""
        return node_states.count(list(self.graph.states().values()))[observation.HELD] > 0

    def poll(self) -> Observation:
        """Polls the schedd."""
        return self._observe(self.site.held_timeout)

    def _observe(self, held_timeout: float | None) -> Observation:
        self.handle.refresh()
        record = self.handle.record
        if record.final or record.state.status == statuses.RESULTS_READY:
            return NOTHING_NEW  # another process has observed its end
        nodes = self.handle.backend.nodes
        return poll.observe(record, nodes.nodes(record.id), self.client(), held_timeout, nodes.save_nodes)

    def stop(self) -> Observation:
        """Removes DAGMan, which ends its nodes, runs the FINAL one, and writes which nodes are done."""
        client, mine = self.client(), self.mine
        client.act("Remove", f"{mine} && JobStatus =!= 4 && JobStatus =!= 3", "stopped by prefect-jobs")
        left = f"DAGManJobId == {self.cluster} || ({mine} && ShadowBday =!= undefined)"
        deadline = time.monotonic() + PATIENCE
        while client.query(left, ("ClusterId",)) and time.monotonic() < deadline:
            Event().wait(0.2)
        return self._observe(None)

    def pause(self) -> Observation:
        """Holds DAGMan, and those of inner DAGs; running nodes continue to their end."""
        client, mine = self.client(), self.mine
        deadline = time.monotonic() + PATIENCE
        # While the access point spools its files, HTCondor itself holds DAGMan, and no user can.
        while not client.act("Hold", f"{mine} && (JobStatus == 1 || JobStatus == 2)", "paused by prefect-jobs"):
            if not client.query(f"{mine} && {observation.WAITING}", ("ClusterId",)):
                break
            if time.monotonic() > deadline:
                raise JobStateError(
                    f"{self.handle.title} is still spooling its files and cannot be paused yet. Try again."
                )
            Event().wait(0.2)
        for inner in poll.inner_dagmans(client, self.cluster):
            client.act("Hold", f"ClusterId == {inner} && JobStatus =!= 5", "paused by prefect-jobs")
        return self._observe(None)

    def resume(self) -> Observation:
        """Releases DAGMan, those of inner DAGs, and held nodes."""
        client = self.client()
        held = f"JobStatus == 5 && HoldReasonCode =!= {observation.HOLD_SPOOLING}"
        dags = [self.cluster, *poll.inner_dagmans(client, self.cluster)]
        everything = " || ".join([f"({self.mine})", *(f"DAGManJobId == {number}" for number in dags)])
        client.act("Release", f"({everything}) && {held}", "resumed by prefect-jobs")
        return self._observe(None)

    def logs(self) -> dict[str, Any]:
        """The present logs of DAGMan as texts, and of each node, if the schedd gives them."""
        found = self.log_files()
        return {**found, logs.WORKFLOW: log_file.texts(found[logs.WORKFLOW])} if found else {}

    def log_files(self) -> dict[str, Any]:
        """As :meth:`logs`, where they are."""
        record = self.handle.record
        if record.remote_id is None:
            return {}
        directory, states = self.initial_dir, self.graph.states()
        if record.noted.foreign:
            client = self.client()
            own = foreign.logs(client, self.mine)
            return {logs.WORKFLOW: own, **logs.foreign_files(states.values(), here=foreign.is_here(client))}
        if self.state.in_queue and not record.final:
            with self.handle.backend.results.lease(record.id) as mine:
                if mine:  # else another process is fetching all outputs
                    self._fetch_logs(directory, states)
        return logs.files(states.values(), directory)

    def _fetch_logs(self, directory: Path, states: Mapping[str, NodeRecord]) -> None:
        """Fetches the logs so far, without outputs, which may be large."""
        begun = [state for state in states.values() if node_states.tries_of(state)]
        try:
            client = self.client()
            outputs.prepare(directory, 1, ("",))
            if self.handle.record.spec.get(dag_file.OPTION):  # its nodes have no folders of their own
                wanted = dagman.logs([], logs.written(begun))
            else:
                wanted = dagman.logs([logs.folder_of(state) for state in begun])
            client.edit(self.mine, "TransferOutput", f'"{wanted}"')
            try:
                client.retrieve(self.mine)
            finally:
                client.edit(self.mine, "TransferOutput", f'"{dagman.EVERYTHING}"')
            logs.sort_in(list(states.values()), directory)
        except (CondorError, SchedulerConnectionError, OSError) as error:
            log.warning("The logs of %s could not be fetched; the last ones are shown: %s", self.handle.title, error)

    # -- the end ----------------------------------------------------------------------------------------

    def fetch(self) -> Fetched:
        """Fetches the folder of the DAG, determines the status of each node from DAGMan's reports, and removes DAGMan
        from the queue."""
        ours = not self.handle.record.noted.foreign
        directory = self.make_directory() if ours else self.initial_dir
        lost = ours and not self._retrieve(directory) and not self.state.retrieved
        before, nodes = self._judge(directory, lost=lost)
        changed = tuple(poll.marked(old, new) for old, new in zip(before, nodes, strict=True) if old != new)
        tails = logs.tails(nodes, directory) if ours else ()
        return Fetched(native=encode(in_queue=None), messages=tuple(tails), nodes=changed)

    def _retrieve(self, directory: Path) -> bool:
        """Fetches outputs; returns whether there were any at the access point.

        Raises:
            OutputsNotFetched: not possible now.
        """
        client, mine = self.client(), self.mine
        try:
            over = f"{mine} && (JobStatus == 4 || JobStatus == 3)"
            waiting = client.query(over, ("ClusterId", "JobStatus", "NumJobStarts"))
            if waiting:
                if any(ad["JobStatus"] == 4 or ad.get("NumJobStarts") for ad in waiting):
                    client.edit(mine, "TransferOutput", f'"{dagman.EVERYTHING}"')
                    outputs.prepare(directory, 1, ("",))
                    client.retrieve(mine)
                # Otherwise it was removed before it ran: there is nothing to fetch.
                self.handle.apply(None, native=encode(retrieved=True))
            outputs.put_in_place(directory)
            if waiting:
                client.act("Remove", f"{mine} && JobStatus == 4", _FETCHED)
                client.act("RemoveX", f"{mine} && JobStatus == 3", _FETCHED)
        except (CondorError, OSError) as error:
            raise OutputsNotFetched(first_line(error)) from error
        return bool(waiting)

    def _judge(self, directory: Path, *, lost: bool) -> tuple[list[NodeRecord], list[NodeRecord]]:
        """Determines the status of the workflow and of each node from DAGMan's reports.

        Returns:
            The nodes before and after.
        """
        state = self.state
        end, gave_up = state.dagman, state.gave_up
        before = self.handle.backend.nodes.nodes(self.handle.record.id)
        is_foreign = self.handle.record.noted.foreign
        report = {} if lost or is_foreign else reports.read_status(directory, self._places["status"])
        nodes = node_ends.finish(before, report, removed=end.removed)
        if is_foreign:
            nodes = dag_file.finish_foreign(nodes, well=end.exit_code == 0 and not end.removed)
        else:
            nodes = dag_file.finish_inner(self.handle.record.spec, nodes, directory)
        if lost:
            nodes = node_ends.lose(nodes)
        existing = dag_file.is_existing(self.handle.record)
        status, message = node_ends.outcome_of(
            nodes, end.exit_code, removed=end.removed and not gave_up, by_dagman=existing
        )
        if gave_up:
            message = f"{gave_up} {message}"
        elif end.removed and end.reason:
            by_us = "prefect-jobs" in end.reason
            message = f"{'Stopped' if by_us else end.reason.rstrip('. ')}. {message}"
        if status == statuses.ERROR and not report and not is_foreign:
            said = reports.complaints(directory)
            message = f"DAGMan could not run the DAG (exit code {end.exit_code}). {said}".strip()
        if lost:
            message = f"{message} Its outputs are lost: DAGMan was removed from the queue before they were fetched."
        if is_foreign:  # it is not run again from here
            message = message.replace(" Fix the cause, then call resubmit() to continue from there.", "")
            message = message.replace("; resubmit() continues from there", "")
        outcome = replace(state.outcome or Outcome(status), status=status, message=message)
        self.handle.apply(None, native=encode(outcome=outcome))
        return before, nodes

    def clean_up(self) -> None:
        """Removes DAGMan, and with it all nodes, from the queue."""
        record = self.handle.record
        if record.remote_id and self.state.in_queue and not record.noted.foreign:
            client = self.client()
            client.act("Remove", self.mine, _NOT_WANTED)
            client.act("RemoveX", f"{self.mine} && JobStatus == 3", _NOT_WANTED)
