"""Shows jobs in Prefect: one thread for each process, so that no call waits for Prefect, and no change is lost.

The transaction that changes a job also notes in SQL that it is behind. The thread claims jobs that are behind (until
a given time, so that two processes do not write the same run at once), writes only the latest state, and notes the
change that it has shown. Other processes find what a process that died left behind.

The nodes of workflows come after the jobs themselves, a few at a time, and no call waits for them.
"""

import atexit
import logging
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection import loading
from prefect_jobs.projection.loading import PATIENCE
from prefect_jobs.projection.node_faces import NodeFaces
from prefect_jobs.projection.prefect_api import DELETED_AT_ONCE, PrefectApi, PrefectAway
from prefect_jobs.projection.run_faces import OFFERED, Form, RunFaces
from prefect_jobs.projection.work_queue import Batch, WorkQueue
from prefect_jobs.records import JobRecord
from prefect_jobs.store import Store

log = logging.getLogger(__name__)

#: Seconds for which a claim on showing a job holds, and the lease on the deletion of runs.
_CLAIM = 60.0
#: The lease of the process that deletes runs.
_DELETIONS = "run-deletions"
_BATCH = 100
#: The longest delay in seconds of Prefect's import, which a program that ends waits for.
_LOAD = 0.5
#: Seconds in which a program that ends shows what is left, if Prefect answers.
_AT_THE_END = 10.0
#: Seconds until the next call to Prefect after it did not answer: the first and the longest pause.
_PAUSES = (2.0, 20.0)
#: Seconds until the next call to a busy Prefect; after as many busy answers in a row it counts as unreachable.
_BUSY = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5)


class Projector:
    """Shows the jobs of one store in Prefect."""

    def __init__(
        self,
        store: Store,
        form: Callable[[JobRecord], Form],
        api: Callable[[], PrefectApi] = PrefectApi,
        page: Callable[[JobRecord], str | None] = lambda _: None,
    ) -> None:
        """
        Args:
            store: stores the jobs.
            form: the flow of a job's type, and its parameters for the job.
            api: creates the client, in the thread that uses it.
            page: what the page of a run says of a job that is over, as markdown; ``None``: nothing.
        """
        self._store = store
        self._make_api = api
        self._owner = uuid.uuid4().hex
        self._nodes = NodeFaces(store)
        self._runs = RunFaces(store, form, self._nodes, page)
        self._queue = WorkQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        #: Jobs whose end is shown, up to this change; they stay behind until the end of their nodes is shown.
        self._ending: dict[int, int] = {}
        #: Whether this process has the lease on the deletion of runs.
        self._deletes = False

    @property
    def away(self) -> tuple[str, float] | None:
        """Why Prefect cannot be reached, and since when (monotonic); ``None``: not known to be unreachable."""
        return self._queue.away

    def kick(self, job_id: int, delay: float = 0.0) -> None:
        """Requests that a job is shown, within ``delay`` seconds."""
        self.kick_all([job_id], delay)

    def kick_all(self, job_ids: Sequence[int], delay: float = 0.0) -> None:
        """As :meth:`kick`, for many."""
        self._queue.add(job_ids, delay)
        self._ensure_thread(delay)

    def wait(self, job_ids: Sequence[int], patience: float = PATIENCE) -> bool:
        """Waits until Prefect shows the jobs; their nodes may take longer.

        Returns:
            Whether it does; ``False`` at once if Prefect is known to be unreachable, or showing one of them failed.
        """
        self.kick_all(job_ids)
        return self._queue.wait(job_ids, patience)

    def impatient(self) -> None:
        """Notes that a call has waited for Prefect without success."""
        self._queue.impatient()

    def flush(self, patience: float = PATIENCE) -> bool:
        """Waits until everything is shown, log lines and nodes included.

        Returns:
            Whether it is; ``False`` at once if Prefect is known to be unreachable, or showing something failed.
        """
        return self._queue.flush(patience)

    def delete_runs_soon(self, asked: int = 0) -> None:
        """Requests that the runs of deleted jobs are deleted, in the background.

        Args:
            asked: for how many of them a program that ends waits, unless another process deletes them.
        """
        self._queue.ask_deletions(asked)
        self._ensure_thread()

    def sweep(self, patience: float = PATIENCE) -> bool:
        """Requests that everything that is behind is shown, and the first runs are deleted, and waits for that.

        Returns:
            Whether it is done; ``False`` at once if Prefect is known to be unreachable.
        """
        self._queue.ask_sweep()
        self._ensure_thread()
        return self._queue.wait_for_sweep(patience)

    def close(self) -> None:
        """Shows what is left, ends the thread, and releases its claims."""
        if self._thread is None or self._pid != os.getpid():
            return
        self.flush(_AT_THE_END)
        self._queue.close()
        self._thread.join(PATIENCE)
        self._thread = None

    # -- the thread -------------------------------------------------------------------------------------

    def _ensure_thread(self, delay: float = 0.0) -> None:
        with self._lock:
            if self._thread is not None and self._pid == os.getpid() and self._thread.is_alive():
                return
            loading.begin(min(delay, _LOAD))
            self._pid = os.getpid()
            self._queue.open()
            self._thread = threading.Thread(target=self._run, name="prefect-jobs-projector", daemon=True)
            self._thread.start()
            atexit.unregister(self.close)
            atexit.register(self.close)

    def _run(self) -> None:
        queue = self._queue
        queue.wait_for_work()  # not in the way of the calls that come first
        loading.load()
        api = self._make_api()
        backoff, busy = Backoff(*_PAUSES), 0
        try:
            while (batch := queue.take()) is not None:
                answers = queue.answers
                try:
                    self._work(api, batch)
                except PrefectAway as error:
                    if queue.answers > answers:
                        busy = 0  # some jobs were shown: a server that is busy now and then is not away
                        backoff.reset()
                    busy = busy + 1 if error.busy else len(_BUSY)
                    if busy < len(_BUSY):
                        if batch.sweep:
                            queue.sweep_again()
                        elif batch.deletions:
                            queue.ask_deletions()
                        queue.pause(_BUSY[busy])
                        continue
                    queue.lost(error)
                    queue.pause(backoff.pause())
                    queue.sweep_again()
                except Exception:
                    # The database may fail, too; it has noted what is behind, and the next sweep finds it.
                    log.exception("Jobs could not be shown in Prefect; trying again")
                    queue.failed(batch)
                    queue.pause(backoff.pause())
                else:
                    backoff.reset()
                    busy = 0
        finally:
            api.close()
            try:
                self._store.release_faces(self._owner)
                self._end_deletions()
            except PrefectJobsError:
                log.warning("Claims on jobs could not be released; they expire by themselves")

    def _work(self, api: PrefectApi, batch: Batch) -> None:
        """Shows what is due, and the nodes of one job, and then deletes some runs."""
        if batch.jobs:
            self._show(api, batch.jobs)
        if batch.logs:
            self._send_logs(api)
        if batch.sweep:
            self._sweep(api)
        self._show_nodes(api)
        if batch.deletions:
            self._delete_runs(api)
        if batch.sweep:
            self._queue.swept()

    def _show(self, api: PrefectApi, asked: list[int]) -> None:
        records = self._store.claim_faces(self._owner, _CLAIM, _BATCH, only=asked)
        self._show_all(api, records)
        self._queue.add_logs({record.id for record in records})
        self._settle(asked)
        self._nodes_wanted(records)

    def _settle(self, job_ids: list[int]) -> None:
        """Notes which of the jobs are shown now, for the calls that wait for them."""
        behind = {job_id for job_id, seq in self._store.behind(job_ids).items() if self._ending.get(job_id) != seq}
        self._queue.shown(job_ids, behind)

    def _sweep(self, api: PrefectApi) -> None:
        """Shows what was left behind: by processes that ended, or while Prefect could not be reached."""
        if self.away is not None:
            api.check()  # there may be nothing to show
            self._queue.answered()
        later: set[int] = set()
        while True:
            # Jobs that wait for their nodes' turn are found each time, and must not hide the others.
            limit = _BATCH + len(later)
            records = self._store.claim_faces(self._owner, _CLAIM, limit)
            fresh = [record for record in records if record.id not in later]
            self._show_all(api, fresh)
            self._settle([record.id for record in fresh])
            later |= self._nodes_wanted(fresh)
            self._queue.add_logs({record.id for record in fresh})
            self._send_logs(api)
            if len(records) < limit or not fresh:
                break
        if later:
            self._store.release_faces(self._owner)

    def _delete_runs(self, api: PrefectApi) -> None:
        """Deletes some runs. There may be a hundred thousand: the next ones follow the jobs that are due then."""
        run_ids = self._store.run_deletions(DELETED_AT_ONCE)
        if run_ids:
            self._deletes = self._store.claim_lease(_DELETIONS, self._owner, _CLAIM)
        if run_ids and not self._deletes:
            # Another process deletes them, and may have thousands before those of this one.
            run_ids = self._store.run_deletions(min(self._queue.owed, DELETED_AT_ONCE), newest=True)
        if run_ids:
            try:
                api.delete_runs(run_ids)
            except Exception:
                self._end_deletions()  # another process may reach Prefect
                raise
            self._queue.answered()
            self._store.run_deleted(*run_ids)
        more = self._deletes and bool(self._store.run_deletions(1))
        if not more:
            self._end_deletions()
        self._queue.deleted(len(run_ids), more=more)

    def _end_deletions(self) -> None:
        if self._deletes:
            self._store.release_lease(_DELETIONS, self._owner)
            self._deletes = False

    def _show_all(self, api: PrefectApi, records: list[JobRecord]) -> None:
        """Shows the states of jobs; missing runs are created first, many in one call."""
        if len(left := self._runs.create(api, records, self._noted)) < len(records):
            self._queue.answered()
        for record in left:
            self._show_one(api, record)

    def _show_one(self, api: PrefectApi, record: JobRecord) -> None:
        """Shows the state of a job, if it has changed."""
        if not record.behind or self._ending.get(record.id) == record.face_seq:
            self._store.face_shown(_as_before(record))  # only log lines or nodes were behind
            return
        self._runs.show(api, record, self._noted)
        self._queue.answered()

    # -- nodes ------------------------------------------------------------------------------------------

    def _noted(self, record: JobRecord) -> JobRecord:
        """The record up to which the job is shown. A workflow that has ended stays behind until the end of its nodes is
        shown: if this process dies before that, another one shows it."""
        if not self._nodes.ends(record):
            self._ending.pop(record.id, None)
            return record
        self._ending[record.id] = record.face_seq
        return replace(record, face_seq=record.face_seq - 1)

    def _nodes_wanted(self, records: list[JobRecord]) -> set[int]:
        """Gives a turn to the jobs with nodes to be shown; returns these jobs."""
        ids = [record.id for record in records]
        wanted = self._ending.keys() & set(ids) | self._store.with_nodes_behind(ids)
        self._queue.add_nodes(wanted)
        return wanted

    def _show_nodes(self, api: PrefectApi) -> None:
        """Takes one turn of the job that has waited longest."""
        job_id = self._queue.next_nodes()
        if job_id is None:
            return
        try:
            again = self._turn(api, job_id)
        except PrefectAway:
            raise
        except Exception:
            # The database has noted what is behind, and the next sweep finds it.
            log.exception("The nodes of job %s could not be shown in Prefect", job_id)
            self._ending.pop(job_id, None)
            self._queue.nodes_failed(job_id)
        else:
            self._queue.nodes_shown(job_id, again)

    def _turn(self, api: PrefectApi, job_id: int) -> float | None:
        """Shows some of a job's nodes.

        Returns:
            Seconds until its next turn; ``None``: it needs none.
        """
        claimed = self._store.claim_faces(self._owner, _CLAIM, 1, only=[job_id])
        if not claimed:
            # Shown already, or another process shows it.
            self._ending.pop(job_id, None)
            record = self._store.get(job_id)
            if record is None:
                self._nodes.forget(job_id)
            else:
                self._nodes.catch_up(api, record)
            return None
        record = claimed[0]
        if (not record.face_shown or OFFERED in record.face_shown) and record.behind:
            # The run was made in Prefect, and it does not name its job yet: that comes first.
            self._store.face_shown(_as_before(record))
            return None
        turn = self._nodes.show(api, record)
        if turn.answered:
            self._queue.answered()
        ended = turn.again is None and self._ending.pop(job_id, None) == record.face_seq
        self._store.face_shown(record if ended else _as_before(record), shown=turn.shown)
        return turn.again

    # -- log lines --------------------------------------------------------------------------------------

    def _send_logs(self, api: PrefectApi) -> None:
        """Sends log lines of many jobs in as few calls as possible."""
        wanted = self._queue.take_logs()
        try:
            if wanted and self._runs.send_logs(api, wanted):
                self._queue.answered()
        except Exception:
            self._queue.logs_left(wanted)
            raise
        self._queue.logs_sent()


def _as_before(record: JobRecord) -> JobRecord:
    """The change up to which the job was shown when it was read: ends the claim, and the job stays behind."""
    return replace(record, face_seq=record.face_done)
