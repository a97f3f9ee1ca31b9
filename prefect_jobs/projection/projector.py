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
import time
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
from prefect_jobs.records import JobRecord
from prefect_jobs.store import Store

log = logging.getLogger(__name__)

#: Seconds between looks for what others left behind.
SWEEP = 15.0
#: Seconds that log lines may wait, so that several go in one call.
LOG_DELAY = 4.0
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
        self._changed = threading.Condition()
        self._due: dict[int, float] = {}
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closing = False
        self._next_sweep = 0.0
        self._sweep_asked = False
        self._logs_due: float | None = None
        self._logging: set[int] = set()
        #: Jobs whose nodes are to be shown, in the order of their turns, and when.
        self._nodes_due: dict[int, float] = {}
        #: Jobs that have ended and are shown so, up to this change; their marks stay until their nodes' end is shown.
        self._ending: dict[int, int] = {}
        #: Somebody has waited in vain since Prefect answered last.
        self._spent = False
        #: Why Prefect cannot be reached, since when (monotonic); nobody waits for it then.
        self.away: tuple[str, float] | None = None

    def kick(self, job_id: int, delay: float = 0.0) -> None:
        """Asks for a job's face to be brought up to date, ``delay`` seconds from now at the latest."""
        self.kick_all([job_id], delay)

    def kick_all(self, job_ids: Sequence[int], delay: float = 0.0) -> None:
        """As :meth:`kick`, of many."""
        with self._changed:
            due = time.monotonic() + delay
            self._due.update({job_id: min(due, self._due.get(job_id, due)) for job_id in job_ids})
            self._ensure_thread()
            self._changed.notify_all()

    def wait(self, job_ids: Sequence[int], patience: float = PATIENCE) -> bool:
        """Waits until the faces of jobs are up to date; their nodes may take longer.

        Returns:
            Whether they are; at once ``False`` if Prefect is known to be away.
        """
        self.kick_all(job_ids)
        with self._changed:
            # Patience is spent once, not once a call: the next ones wait only after Prefect has answered again.
            if not self._changed.wait_for(
                lambda: self._due.keys().isdisjoint(job_ids) or self.away is not None or self._spent, timeout=patience
            ):
                self._spent = True
            return self._due.keys().isdisjoint(job_ids)

    def impatient(self) -> None:
        """Notes that somebody has waited for Prefect in vain already."""
        self._spent = True

    def flush(self, patience: float = PATIENCE) -> bool:
        """Waits until nothing is left to be shown, log lines and nodes included; whether it is so."""
        with self._changed:
            if self._logs_due is not None:
                self._logs_due = 0.0
            self._nodes_due = dict.fromkeys(self._nodes_due, 0.0)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._all_shown() or self.away is not None, timeout=patience)

    def sweep(self, patience: float = PATIENCE) -> bool:
        """Asks for a look at everything that is marked, runs to be deleted among it, and waits for that.

        Returns:
            Whether it is done; at once ``False`` if Prefect is known to be away.
        """
        with self._changed:
            self._next_sweep = time.monotonic()
            self._sweep_asked = True
            self._ensure_thread()
            self._changed.notify_all()
            if not self._changed.wait_for(
                lambda: not self._sweep_asked or self.away is not None or self._spent, timeout=patience
            ):
                self._spent = True
            return not self._sweep_asked

    def close(self) -> None:
        """Shows what is left, ends the thread, and gives claims back."""
        if self._thread is None or self._pid != os.getpid():
            return
        self.flush()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(PATIENCE)
        self._thread = None

    def _all_shown(self) -> bool:
        return not (self._due or self._nodes_due or self._logs_due is not None or self._sweep_asked)

    # -- the thread -------------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        if self._thread is not None and self._pid == os.getpid() and self._thread.is_alive():
            return
        loading.begin()
        self._pid, self._closing = os.getpid(), False
        self._thread = threading.Thread(target=self._run, name="prefect-jobs-projector", daemon=True)
        self._thread.start()
        atexit.unregister(self.close)
        atexit.register(self.close)

    def _run(self) -> None:
        loading.load()
        api = self._make_api()
        backoff, busy = Backoff(*_PAUSES), 0
        try:
            while True:
                with self._changed:
                    while not self._ready():
                        self._changed.wait(self._pause())  # how long, a kick may have changed
                    if self._closing:
                        break
                    moment = time.monotonic()
                    asked = [job_id for job_id, due in self._due.items() if due <= moment][:_BATCH]
                    logs = self._logs_due is not None and self._logs_due <= moment
                    sweep = moment >= self._next_sweep
                    if sweep:
                        self._next_sweep = moment + SWEEP
                try:
                    if asked:
                        self._show(api, asked)
                    if logs:
                        self._send_logs(api)
                    if sweep:
                        self._sweep(api)
                        with self._changed:
                            self._sweep_asked = False
                            self._changed.notify_all()
                    self._show_nodes(api)
                except PrefectAway as error:
                    busy = busy + 1 if error.busy else len(_BUSY)
                    if busy < len(_BUSY):
                        if sweep:
                            self._next_sweep = moment
                        with self._changed:
                            self._changed.wait_for(lambda: self._closing, timeout=_BUSY[busy])
                        continue
                    self._lost(error)
                    with self._changed:
                        self._changed.wait_for(lambda: self._closing, timeout=backoff.pause())
                        self._next_sweep = 0.0
                    continue
                except Exception:
                    # The database may be away, too; the marks are in it, and the next sweep finds them.
                    log.exception("Faces could not be brought up to date; trying again")
                    with self._changed:
                        for job_id in asked:
                            self._due.pop(job_id, None)
                        self._logs_due = None
                        self._changed.notify_all()
                        self._changed.wait_for(lambda: self._closing, timeout=backoff.pause())
                    continue
                backoff.reset()
                busy = 0
        finally:
            api.close()
            try:
                self._store.release_faces(self._owner)
            except PrefectJobsError:
                log.warning("Claims on faces could not be given back; they end by themselves")

    def _ready(self) -> bool:
        return self._closing or self._pause() == 0

    def _pause(self) -> float:
        moments = [self._next_sweep, *self._due.values(), *self._nodes_due.values()]
        if self._logs_due is not None:
            moments.append(self._logs_due)
        return max(0.0, min(moments) - time.monotonic())

    def _lost(self, error: PrefectAway) -> None:
        with self._changed:
            if self.away is None:
                self.away = (str(error), time.monotonic())
                log.warning("%s Jobs go on; their flow runs are brought up to date later.", error)
            self._changed.notify_all()

    def _answered(self) -> None:
        self._spent = False
        if self.away is not None:
            log.warning("Prefect's API answers again after %.0f s.", time.monotonic() - self.away[1])
            self.away = None

    def _show(self, api: PrefectApi, asked: list[int]) -> None:
        records = self._store.claim_faces(self._owner, _CLAIM, _BATCH, only=asked)
        self._show_all(api, records)
        self._logs_wanted({record.id for record in records})
        self._settle(asked)
        self._nodes_wanted(records)

    def _settle(self, job_ids: list[int]) -> None:
        """Tells who waits which of the jobs are shown as they are now."""
        behind = {job_id for job_id, seq in self._store.behind(job_ids).items() if self._ending.get(job_id) != seq}
        with self._changed:
            for job_id in job_ids:
                if job_id not in behind:
                    self._due.pop(job_id, None)
                else:
                    # Changed again meanwhile, or another process is at it just now.
                    self._due[job_id] = time.monotonic() + 0.25
            self._changed.notify_all()

    def _sweep(self, api: PrefectApi) -> None:
        """What was left behind: by processes that ended, or while Prefect was away."""
        if self.away is not None:
            api.check()  # there may be nothing to show
            self._answered()
        later: set[int] = set()
        while True:
            # Those that wait for their nodes' turn are found each time, and must not hide the others.
            limit = _BATCH + len(later)
            records = self._store.claim_faces(self._owner, _CLAIM, limit)
            fresh = [record for record in records if record.id not in later]
            self._show_all(api, fresh)
            self._settle([record.id for record in fresh])
            later |= self._nodes_wanted(fresh)
            self._logging.update(record.id for record in fresh)
            self._send_logs(api)
            if len(records) < limit or not fresh:
                break
        if later:
            self._store.release_faces(self._owner)
        while run_ids := self._store.run_deletions()[:DELETED_AT_ONCE]:
            api.delete_runs(run_ids)
            self._answered()
            self._store.run_deleted(*run_ids)

    def _show_all(self, api: PrefectApi, records: list[JobRecord]) -> None:
        """Shows jobs' own states; runs that are not there yet are made first, many in one call."""
        if len(left := self._runs.create(api, records, self._noted)) < len(records):
            self._answered()
        for record in left:
            self._show_one(api, record)

    def _show_one(self, api: PrefectApi, record: JobRecord) -> None:
        """Shows the job's own state, if it has changed."""
        if not record.behind or self._ending.get(record.id) == record.face_seq:
            self._store.face_shown(_as_before(record))  # only log lines or nodes were waiting
            return
        self._runs.show(api, record, self._noted)
        self._answered()

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
        with self._changed:
            moment = time.monotonic()
            for job_id in wanted:
                self._nodes_due[job_id] = min(moment, self._nodes_due.get(job_id, moment))
        return wanted

    def _show_nodes(self, api: PrefectApi) -> None:
        """One turn of the job that has waited longest for it."""
        with self._changed:
            moment = time.monotonic()
            job_id = next((job_id for job_id, due in self._nodes_due.items() if due <= moment), None)
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
            again = None
        with self._changed:
            del self._nodes_due[job_id]
            if again is not None:
                self._nodes_due[job_id] = time.monotonic() + again  # behind all others
            self._changed.notify_all()

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
            self._answered()
        ended = turn.again is None and self._ending.pop(job_id, None) == record.face_seq
        self._store.face_shown(record if ended else _as_before(record), shown=turn.shown)
        return turn.again

    # -- log lines --------------------------------------------------------------------------------------

    def _logs_wanted(self, job_ids: set[int]) -> None:
        with self._changed:
            self._logging |= job_ids
            if self._logs_due is None and job_ids:
                self._logs_due = time.monotonic() + LOG_DELAY

    def _send_logs(self, api: PrefectApi) -> None:
        """Log lines of many jobs in as few calls as there can be."""
        with self._changed:
            wanted, self._logging = self._logging, set()
        try:
            if wanted and self._runs.send_logs(api, wanted):
                self._answered()
        except PrefectAway:
            with self._changed:
                self._logging |= wanted
            raise
        with self._changed:
            self._logs_due = time.monotonic() + LOG_DELAY if self._logging else None
            self._changed.notify_all()


def _as_before(record: JobRecord) -> JobRecord:
    """As far as the job was shown when it was read: ends the claim, and leaves the marks as they are."""
    return replace(record, face_seq=record.face_done)
