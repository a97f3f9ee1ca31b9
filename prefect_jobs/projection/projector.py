"""Brings faces up to date: one thread a process, so that Prefect being away blocks nobody and loses nothing.

What is to be shown is marked in SQL in the transaction that changed it. The thread takes marked jobs (a claim with
an end, so that two processes do not write the same run at once), writes the latest state only, and clears the mark
up to what it read. What a process that died left behind is found by the others.

The nodes of workflows come after the jobs themselves, a few at a time, and nobody waits for them.
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
from prefect_jobs.projection.run_faces import RunFaces
from prefect_jobs.projection.work_queue import Batch, WorkQueue
from prefect_jobs.records import JobRecord
from prefect_jobs.store import Store

log = logging.getLogger(__name__)

#: Seconds that a claim on a face holds.
_CLAIM = 60.0
_BATCH = 100
#: Seconds until Prefect is asked again that is away: at first, and at most.
_PAUSES = (2.0, 20.0)
#: Seconds until Prefect is asked again that says it is busy; after as many times in a row it counts as away.
_BUSY = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5)


class Projector:
    """Shows the jobs of one store in Prefect."""

    def __init__(
        self,
        store: Store,
        entrypoint: Callable[[JobRecord], str],
        api: Callable[[], PrefectApi] = PrefectApi,
    ) -> None:
        """
        Args:
            store: the jobs.
            entrypoint: which flow a job's type runs, ``module:function``.
            api: makes the client, in the thread that uses it.
        """
        self._store = store
        self._make_api = api
        self._owner = uuid.uuid4().hex
        self._nodes = NodeFaces(store)
        self._runs = RunFaces(store, entrypoint, self._nodes)
        self._queue = WorkQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        #: Jobs that have ended and are shown so, up to this change; their marks stay until their nodes' end is shown.
        self._ending: dict[int, int] = {}

    @property
    def away(self) -> tuple[str, float] | None:
        """Why Prefect cannot be reached, since when (monotonic); ``None``: it is not known to be away."""
        return self._queue.away

    def kick(self, job_id: int, delay: float = 0.0) -> None:
        """Asks for a job's face to be brought up to date, ``delay`` seconds from now at the latest."""
        self.kick_all([job_id], delay)

    def kick_all(self, job_ids: Sequence[int], delay: float = 0.0) -> None:
        """As :meth:`kick`, of many."""
        self._queue.add(job_ids, delay)
        self._ensure_thread()

    def wait(self, job_ids: Sequence[int], patience: float = PATIENCE) -> bool:
        """Waits until the faces of jobs are up to date; their nodes may take longer.

        Returns:
            Whether they are; at once ``False`` if Prefect is known to be away, or showing one of them failed.
        """
        self.kick_all(job_ids)
        return self._queue.wait(job_ids, patience)

    def impatient(self) -> None:
        """Notes that somebody has waited for Prefect in vain already."""
        self._queue.impatient()

    def flush(self, patience: float = PATIENCE) -> bool:
        """Waits until nothing is left to be shown, log lines and nodes included.

        Returns:
            Whether it is so; at once ``False`` if Prefect is known to be away, or showing something failed.
        """
        return self._queue.flush(patience)

    def sweep(self, patience: float = PATIENCE) -> bool:
        """Asks for a look at everything that is marked, runs to be deleted among it, and waits for that.

        Returns:
            Whether it is done; at once ``False`` if Prefect is known to be away.
        """
        self._queue.ask_sweep()
        self._ensure_thread()
        return self._queue.wait_for_sweep(patience)

    def close(self) -> None:
        """Shows what is left, ends the thread, and gives claims back."""
        if self._thread is None or self._pid != os.getpid():
            return
        self.flush()
        self._queue.close()
        self._thread.join(PATIENCE)
        self._thread = None

    # -- the thread -------------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is not None and self._pid == os.getpid() and self._thread.is_alive():
                return
            loading.begin()
            self._pid = os.getpid()
            self._queue.open()
            self._thread = threading.Thread(target=self._run, name="prefect-jobs-projector", daemon=True)
            self._thread.start()
            atexit.unregister(self.close)
            atexit.register(self.close)

    def _run(self) -> None:
        loading.load()
        api, queue = self._make_api(), self._queue
        backoff, busy = Backoff(*_PAUSES), 0
        try:
            while (batch := queue.take()) is not None:
                try:
                    self._work(api, batch)
                except PrefectAway as error:
                    busy = busy + 1 if error.busy else len(_BUSY)
                    if busy < len(_BUSY):
                        if batch.sweep:
                            queue.sweep_again()
                        queue.pause(_BUSY[busy])
                        continue
                    queue.lost(error)
                    queue.pause(backoff.pause())
                    queue.sweep_again()
                except Exception:
                    # The database may be away, too; the marks are in it, and the next sweep finds them.
                    log.exception("Faces could not be brought up to date; trying again")
                    queue.failed(batch)
                    queue.pause(backoff.pause())
                else:
                    backoff.reset()
                    busy = 0
        finally:
            api.close()
            try:
                self._store.release_faces(self._owner)
            except PrefectJobsError:
                log.warning("Claims on faces could not be given back; they end by themselves")

    def _work(self, api: PrefectApi, batch: Batch) -> None:
        """Shows what is due, and the nodes of one job."""
        if batch.jobs:
            self._show(api, batch.jobs)
        if batch.logs:
            self._send_logs(api)
        if batch.sweep:
            self._sweep(api)
            self._queue.swept()
        self._show_nodes(api)

    def _show(self, api: PrefectApi, asked: list[int]) -> None:
        records = self._store.claim_faces(self._owner, _CLAIM, _BATCH, only=asked)
        self._show_all(api, records)
        self._queue.add_logs({record.id for record in records})
        self._settle(asked)
        self._nodes_wanted(records)

    def _settle(self, job_ids: list[int]) -> None:
        """Tells who waits which of the jobs are shown as they are now."""
        behind = {job_id for job_id, seq in self._store.behind(job_ids).items() if self._ending.get(job_id) != seq}
        self._queue.shown(job_ids, behind)

    def _sweep(self, api: PrefectApi) -> None:
        """What was left behind: by processes that ended, or while Prefect was away."""
        if self.away is not None:
            api.check()  # there may be nothing to show
            self._queue.answered()
        later: set[int] = set()
        while True:
            # Those that wait for their nodes' turn are found each time, and must not hide the others.
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
        while run_ids := self._store.run_deletions()[:DELETED_AT_ONCE]:
            api.delete_runs(run_ids)
            self._queue.answered()
            self._store.run_deleted(*run_ids)

    def _show_all(self, api: PrefectApi, records: list[JobRecord]) -> None:
        """Shows jobs' own states; runs that are not there yet are made first, many in one call."""
        if len(left := self._runs.create(api, records, self._noted)) < len(records):
            self._queue.answered()
        for record in left:
            self._show_one(api, record)

    def _show_one(self, api: PrefectApi, record: JobRecord) -> None:
        """Shows the job's own state, if it has changed."""
        if not record.behind or self._ending.get(record.id) == record.face_seq:
            self._store.face_shown(_as_before(record))  # only log lines or nodes were waiting
            return
        self._runs.show(api, record, self._noted)
        self._queue.answered()

    # -- nodes ------------------------------------------------------------------------------------------

    def _noted(self, record: JobRecord) -> JobRecord:
        """Up to where the job is shown now. A workflow that has ended keeps a mark until its nodes' end is shown:
        should this process die before, another one shows it."""
        if not self._nodes.ends(record):
            self._ending.pop(record.id, None)
            return record
        self._ending[record.id] = record.face_seq
        return replace(record, face_seq=record.face_seq - 1)

    def _nodes_wanted(self, records: list[JobRecord]) -> set[int]:
        """Gives those of the jobs a turn whose nodes are to be shown."""
        ids = [record.id for record in records]
        wanted = self._ending.keys() & set(ids) | self._store.with_nodes_behind(ids)
        self._queue.add_nodes(wanted)
        return wanted

    def _show_nodes(self, api: PrefectApi) -> None:
        """One turn of the job that has waited longest for it."""
        job_id = self._queue.next_nodes()
        if job_id is None:
            return
        try:
            again = self._turn(api, job_id)
        except PrefectAway:
            raise
        except Exception:
            # The marks are in the database, and the next sweep finds them.
            log.exception("The nodes of job %s could not be brought up to date", job_id)
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
            # Shown already, or another process is at it.
            self._ending.pop(job_id, None)
            record = self._store.get(job_id)
            if record is None:
                self._nodes.forget(job_id)
            else:
                self._nodes.catch_up(api, record)
            return None
        record = claimed[0]
        if not record.face_shown and record.behind:
            # An engine has made the run, and it does not say yet which job it is: that comes first.
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
        """Log lines of many jobs in as few calls as there can be."""
        wanted = self._queue.take_logs()
        try:
            if wanted and self._runs.send_logs(api, wanted):
                self._queue.answered()
        except Exception:
            self._queue.logs_left(wanted)
            raise
        self._queue.logs_sent()


def _as_before(record: JobRecord) -> JobRecord:
    """As far as the job was shown when it was read: ends the claim, and leaves the marks as they are."""
    return replace(record, face_seq=record.face_done)
