"""Watches the jobs at one scheduler in a separate thread, so that a scheduler that hangs does not block others."""

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prefect_jobs import clock, statuses
from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import DatabaseError, JobStateError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs import polling, registry, results_many
from prefect_jobs.jobs.observation import NOTHING_NEW, Observation
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.monitor.late import LateSearch, is_late
from prefect_jobs.monitor.live import LiveOutput
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.monitor.reasons import Reasons, waits
from prefect_jobs.monitor.roster import Roster, some
from prefect_jobs.projection import events
from prefect_jobs.projection.prefect_api import emit_alone
from prefect_jobs.records import ChangeOf
from prefect_jobs.runtime.wiring import Runtime

log = logging.getLogger(__name__)

#: Seconds for which a lease on a scheduler holds; it is renewed three times as often.
LEASE = 9.0
#: Seconds between requests to a scheduler that does not answer: the first and the longest pause.
_BACKOFF = (2.0, 30.0)
#: Number of interrupted submissions that are searched in one turn: each needs a request; of submissions without an
#: outcome that are read for that.
_INTERRUPTED, _UNKNOWN = 5, 50
#: Number of jobs of one scheduler whose outputs are fetched at once: an access point transfers one at a time anyway;
#: seconds until outputs that could not be fetched are tried again: the first and the longest pause.
_FETCHES, _RETRY = 2, (2.0, 60.0)
#: Seconds until it is tried again to let held work go on that could not.
_RELEASED = 60.0
#: Number of jobs whose news are written in one transaction; up to how many are written one by one, which is sooner; of
#: how many it is noted in one turn that their scheduler does not answer, or answers again.
_TOGETHER, _FEW, _MARKED = 50, 3, 500
_READING = 0.2  #: Seconds between two polls while jobs are to be read yet.
#: Seconds for which an event is sent again while Prefect is busy.
_PATIENCE = 10.0


class Watch:
    """The jobs at one scheduler. Only the holder of its lease polls."""

    def __init__(
        self,
        runtime: Runtime,
        engine: str | None,
        scheduler: str | None,
        submit: Callable[..., None],
        metrics: Metrics,
    ) -> None:
        """
        Args:
            runtime: the wiring.
            engine: ``htcondor``, ``dask``, or none: jobs that are polled one by one.
            scheduler: name of the block; none: this machine's scheduler.
            submit: runs a function in the pool that fetches outputs.
            metrics: the metrics of the monitor.
        """
        # Without a block it is a scheduler of this machine, which monitors on other machines cannot reach.
        self._host = runtime.settings.host_name if engine is not None and scheduler is None else None
        self.name = f"{engine or 'other'}:{scheduler or 'local'}" + (f"@{self._host}" if self._host else "")
        self._runtime = runtime
        self._place = engine, scheduler
        self._group = registry.group_type(engine)()
        self._submit = submit
        self._metrics = metrics
        self._lease = f"scheduler:{self.name}"[:255]
        self._owner = uuid.uuid4().hex
        self._stop = threading.Event()
        self._roster = Roster(runtime, self._group, polled=engine is None, host=self._host)
        self._held = False
        self._until = 0.0
        #: Until when other monitors may try, since the scheduler did not answer here (monotonic).
        self._left_until = 0.0
        #: The last log line about which monitor watches.
        self._said: bool | None = None
        self._keeper = threading.Thread(target=self._keep, name=f"prefect-jobs-lease-{self.name}", daemon=True)
        self._thread = threading.Thread(target=self._run, name=f"prefect-jobs-watch-{self.name}", daemon=True)
        #: Jobs whose outputs are being fetched, as they are fetched together.
        self._fetching: set[tuple[int, ...]] = set()
        #: Job → when fetching its outputs is tried again, and the pauses between tries.
        self._again: dict[int, tuple[float, Backoff]] = {}
        self._backoff = Backoff(*_BACKOFF)
        #: When the scheduler stopped answering (monotonic).
        self._away_since: float | None = None
        self._unreachable_since = clock.now()
        #: Job → when it is tried again to let its held work go on (monotonic).
        self._next_release: dict[int, float] = {}
        self._late = LateSearch(self._group)
        self._reasons = Reasons(self._group)
        #: Whether all news of this poll were written.
        self._whole = True
        self._output = LiveOutput(runtime, self._ends)

    def start(self) -> None:
        """Begins."""
        self._keeper.start()
        self._thread.start()

    def stop(self) -> None:
        """Asks for the end."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Waits for the end; returns whether it has ended. The lease is released."""
        deadline = time.monotonic() + seconds
        self._thread.join(seconds)
        self._keeper.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def give(self, changed: Mapping[int, int], gone: Iterable[int]) -> None:
        """Notes active jobs that were written, with their versions, and jobs that are no longer active."""
        self._roster.give(changed, gone)

    # -- the lease --------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._claim_or_leave(began)
            except Exception as error:  # the database fails
                log.warning("%s: the lease could not be renewed: %s", self.name, error)
            if self._stop.wait(LEASE / 4):
                break
        if self._held:
            try:
                self._runtime.store.release_lease(self._lease, self._owner)
            except PrefectJobsError:
                log.info("%s: the lease could not be released; it expires by itself", self.name)

    def _claim_or_leave(self, began: float) -> None:
        if began < self._left_until:
            if self._held:
                self._held = False
                self._runtime.store.release_lease(self._lease, self._owner)
            return
        held = self._runtime.store.claim_lease(self._lease, self._owner, LEASE)
        if held != self._said:
            self._said = held
            log.info("%s: %s", self.name, "watched here" if held else "watched by another monitor")
        self._held = held
        self._until = began + LEASE

    def _mine(self) -> bool:
        return self._held and time.monotonic() < self._until

    # -- polls ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        interval = self._runtime.settings.poll_interval
        while not self._stop.is_set():
            if not self._mine():
                self._metrics.left(self.name)
                self._stop.wait(min(interval, 0.5))
                continue
            began, cpu = time.monotonic(), time.thread_time()
            try:
                self._turn()
                self._backoff.reset()
                pause = self._group.pause(interval * random.uniform(0.9, 1.1))  # noqa: S311  (not in step)
                if self._roster.unread:
                    pause = min(pause, _READING)
                self._metrics.up(self.name, True, self._roster.unread or self._group.catching_up)
            except SchedulerConnectionError as error:
                pause = self._backoff.pause()
                self._metrics.up(self.name, False)
                # Perhaps it cannot be reached from here only: another monitor may try.
                self._left_until = time.monotonic() + max(pause, LEASE / 2)
                if self._away_since is None:
                    self._away_since, self._unreachable_since = began, clock.now()
                    self._tell(str(error), reachable=False)
                log.warning("%s: no answer: %s", self.name, error)
            except PrefectJobsError as error:
                pause = self._backoff.pause()
                log.warning("%s: %s", self.name, error)  # the database does not answer
            except Exception:
                pause = self._backoff.pause()
                log.exception("%s: a poll failed; trying again", self.name)
            self._metrics.polled(self.name, time.monotonic() - began, time.thread_time() - cpu)
            self._group.wait(max(0.05, pause - (time.monotonic() - began)), self._stop)

    def _turn(self) -> None:
        for job_id in self._roster.load():
            self._again.pop(job_id, None)
            self._next_release.pop(job_id, None)
        self._fetch()
        if self._roster.active:
            self._poll()
        unknown = self._roster.read(some(self._roster.unknown, _UNKNOWN))
        for job in [job for job in unknown if job.handle.record.submission_interrupted][:_INTERRUPTED]:
            if self._ends():
                return
            with self._alone(job):
                job.handle.refresh()
                polling.poll(job, fetch=False)

    def _poll(self) -> None:
        kept = list(self._roster.polled())
        try:
            found = self._group.poll(kept, self._ends) if kept else {}
            followed = self._group.poll_followed(self._roster.read, self._ends)
        except SchedulerConnectionError as error:
            self._note_unreachable(error)
            raise
        if self._away_since is not None:
            text = f"It answers again after {time.monotonic() - self._away_since:.0f} s."
            log.info("%s: %s", self.name, text)
            self._tell(text, reachable=True)
            self._away_since = None
        news: dict[int, tuple[AnyJob, Observation]] = {job.handle.record.id: (job, each) for job, each in followed}
        news |= {job.handle.record.id: (job, found[job.handle.record.id]) for job in kept if job.handle.id in found}
        now = time.monotonic()  # held work that could not go on a moment ago is left alone
        due = {job_id for job_id in self._roster.held if now >= self._next_release.get(job_id, 0.0)}
        for job in self._roster.jobs(due.union(some(self._roster.unreachable, _MARKED)) - news.keys()):
            answers = job.handle.record.noted.unreachable_since is not None and not self._group.failed(job)
            if not self._released(job, None) and answers:
                news[job.handle.record.id] = job, NOTHING_NEW
        self._whole = True
        if not self._apply(list(news.values())):
            return
        if self._whole:
            self._group.written()
        self._fetch()
        self._note_late()
        for job, text in self._reasons.found(self._roster.waiting, self._roster.jobs):
            if self._ends():
                return
            with self._alone(job):
                job.handle.update(waits(text))
        self._output.turn(self._roster.live)

    def _apply(self, found: list[tuple[AnyJob, Observation]]) -> bool:
        """Writes what is news of it; many jobs in one transaction. Returns whether all of it was done."""
        due: list[tuple[AnyJob, Observation, ChangeOf]] = []
        for number, (job, news) in enumerate(found, start=1):
            if self._ends():
                return False
            if not self._released(job, news):
                record = job.handle.record
                change = polling.change_by(news, record)
                if job.handle.has_noted:
                    self._apply_each([(job, news, change)])  # what its hooks have set is written with it, or lost
                elif polling.is_news(record, change(record)):
                    due.append((job, news, change))
                else:
                    self._group.seen(job, news)
            if due and (len(due) == _TOGETHER or number == len(found)):
                self._write(due)
                due = []
        return True

    def _write(self, due: list[tuple[AnyJob, Observation, ChangeOf]]) -> None:
        if len(due) <= _FEW or not self._applied_together(due):
            self._apply_each(due)

    def _applied_together(self, due: list[tuple[AnyJob, Observation, ChangeOf]]) -> bool:
        changes = {job.handle.record.id: change for job, _, change in due}
        try:
            valid = polling.observed_many([(job, news) for job, news, _ in due], changes)
        except DatabaseError:
            raise
        except Exception:
            log.debug("%s: one by one, to keep an error of one job from the others", self.name, exc_info=True)
            return False
        for job, _, _ in due:
            with self._alone(job):
                pass
        if not valid:
            self._whole = False  # another process has written a job meanwhile
            self._group.look_again()
        return True

    def _apply_each(self, due: list[tuple[AnyJob, Observation, ChangeOf]]) -> None:
        for job, news, change in due:
            if self._ends():
                self._whole = False
                return
            with self._alone(job):
                if not polling.observed(job, news, fetch=False, change=change):
                    self._whole = False
                    self._group.look_again()

    def _note_unreachable(self, error: SchedulerConnectionError) -> None:
        """Notes for each job, once, that its scheduler does not answer: for some each time, so that a short silence
        does not change thousands of jobs and their flow runs."""
        change, due = polling.silence(error), list[tuple[AnyJob, Observation, ChangeOf]]()
        for job in self._roster.jobs(some(self._roster.active - self._roster.unreachable, _MARKED)):
            if job.handle.record.noted.unreachable_since is None:
                due.append((job, NOTHING_NEW, change))
            else:
                self._roster.put(job)  # another process has noted it
        for start in range(0, len(due), _TOGETHER):
            if self._ends():
                return
            self._write(due[start : start + _TOGETHER])

    def _released(self, job: AnyJob, news: Observation | None) -> bool:
        """Lets held work go on, where its job says how; returns whether the news are out of date by that."""
        job_id = job.handle.record.id
        if not job.engine.can_release(news) or time.monotonic() < self._next_release.get(job_id, 0.0):
            return False
        self._next_release[job_id] = time.monotonic() + _RELEASED
        with self._alone(job):
            if job.engine.release_held():
                del self._next_release[job_id]
                self._group.look_again()
                return True
        return False

    def _note_late(self) -> None:
        """Says once for each submission that no machine has taken a job for long."""
        limit = self._runtime.settings.late_match
        if not limit or self._ends():
            return
        for job, seconds in self._late.late(self._roster.waiting, self._roster.jobs, limit):
            if self._ends():
                return
            with self._alone(job):
                job.handle.update(is_late(seconds))

    def _tell(self, why: str, *, reachable: bool) -> None:
        """Sends an event to Prefect, in a thread of the pool: this one does not wait."""
        engine, scheduler = self._place
        name = scheduler or f"local@{self._host}"
        event = events.of_scheduler(name, engine, reachable=reachable, since=self._unreachable_since, why=why)
        self._submit(emit_alone, event, _PATIENCE)

    def _ends(self) -> bool:
        return self._stop.is_set() or not self._mine()

    @contextmanager
    def _alone(self, job: AnyJob) -> Iterator[None]:
        """Keeps errors of one job from affecting the others; notes its new status."""
        try:
            yield
            self._roster.put(job)
        except JobStateError as error:
            log.info("%s: %s", self.name, error)  # deleted meanwhile
        except DatabaseError:
            raise
        except PrefectJobsError as error:
            self._whole = False
            log.warning("%s: job %s: %s", self.name, job.handle.id, error)
        except Exception:
            self._whole = False
            log.exception("%s: job %s could not be polled; trying again", self.name, job.handle.id)

    # -- outputs ----------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """Begins to fetch outputs of jobs: together where their type can."""
        if len(self._fetching) >= _FETCHES:
            return
        busy = {job_id for batch in self._fetching.copy() for job_id in batch}
        now = time.monotonic()
        due = [each for each in sorted(self._roster.ready - busy) if now >= self._again.get(each, (0.0,))[0]]
        kept = self._roster.kept
        together = [job_id for job_id in due if job_id in kept and kept[job_id].fetches_together()]
        alone = sorted(set(due).difference(together))
        chunks = [together[start : start + results_many.CHUNK] for start in range(0, len(together), results_many.CHUNK)]
        for batch in [*chunks, *([job_id] for job_id in alone)]:
            if len(self._fetching) >= _FETCHES:
                return
            self._fetching.add(tuple(batch))
            self._submit(self._fetch_now, tuple(batch))

    def _fetch_now(self, batch: tuple[int, ...]) -> None:
        """Fetches outputs, in a thread of the pool."""
        over, names = set[int](), ", ".join(map(str, batch))
        try:
            if self._stop.is_set():
                return
            jobs = [self._runtime.job(record) for record in self._runtime.store.records(batch)]
            over = set(batch) - {job.handle.record.id for job in jobs}  # deleted meanwhile
            ready = [job for job in jobs if job.handle.status.text == statuses.RESULTS_READY]
            for job_id, error in results_many.fetch_many(ready, self._stop.is_set).items():
                log.warning("%s: outputs of job %s: %s", self.name, job_id, error)
            over.update(job.handle.record.id for job in jobs if job.handle.record.final)
        except PrefectJobsError as error:
            log.warning("%s: outputs of jobs %s: %s", self.name, names, error)
        except Exception:
            log.exception("%s: outputs of jobs %s could not be fetched; trying again", self.name, names)
        finally:
            for job_id in batch:
                if job_id in over or job_id not in self._roster.versions:
                    self._again.pop(job_id, None)
                else:
                    backoff = self._again[job_id][1] if job_id in self._again else Backoff(*_RETRY)
                    self._again[job_id] = (time.monotonic() + backoff.pause(), backoff)
            self._fetching.discard(batch)
