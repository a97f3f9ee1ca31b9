"""Commands: what people and automations did to flow runs in Prefect is done to the jobs."""

import logging
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from prefect_jobs import statuses
from prefect_jobs.acting import PREFECT, acting
from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import DatabaseError, JobStateError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs.base import Job
from prefect_jobs.monitor.leased_thread import LeasedThread
from prefect_jobs.monitor.retries import Retries
from prefect_jobs.monitor.thread_apis import ThreadApis
from prefect_jobs.monitor.workers import Workers
from prefect_jobs.projection.prefect_api import PrefectAway, RunSeen
from prefect_jobs.projection.run_faces import OFFERED
from prefect_jobs.projection.run_states import RETRIES
from prefect_jobs.projection.states import STATUS_BY_TYPE, face_of
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.store.watched import WatchedJobs

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Number of threads that carry out commands.
_WORKERS = 4
#: Number of runs that may vanish at once before the server is taken for another one.
_FEW = 3
#: Number of jobs whose last command is remembered.
_REMEMBERED = 10_000
#: How far back cancelled runs are searched at first: people may have cancelled while no monitor ran.
_FIRST = timedelta(hours=24)
#: Overlap of two searches for cancelled runs: the clocks of server and monitor may disagree.
_OVERLAP = timedelta(minutes=2)
#: Seconds between two searches for cancelled runs while the runs of all active jobs are read in each round.
_SEARCHED = 5.0
#: Number of runs that one call checks: whether they exist, and are unchanged.
_CHUNK = 200
_BACKOFF = (2.0, 30.0)
#: How the messages begin of runs that Prefect's server has cancelled for its own reasons: a place in a concurrency
#: limit was lost, or there was none.
_SERVERS_OWN = ("Deployment concurrency slot lost", "Deployment concurrency limit reached")


class Commands(LeasedThread):
    """Reads runs in Prefect in a separate thread, with a number of calls that does not depend on the number of jobs;
    a few other threads carry out the commands."""

    name = "Commands in Prefect"
    lease = "prefect-commands"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.store, runtime.settings.poll_interval)
        self._runtime = runtime
        self._apis = ThreadApis()
        self._retries = Retries(runtime, self._apis)
        self._workers = Workers(_WORKERS, "prefect-jobs-command", self._apis.close)
        self._since: datetime | None = None
        #: When cancelled runs are searched next (monotonic).
        self._next_search = 0.0
        self._jobs = WatchedJobs(runtime.store)
        #: The last job whose run was read in its turn.
        self._last = 0
        #: When Prefect stopped answering (monotonic).
        self._away_since: float | None = None
        self._lock = threading.Lock()
        #: Jobs with a command in progress.
        self._busy: set[int] = set()
        #: Job → the state of its run for which nothing more is to be done.
        self._done: dict[int, str] = {}
        #: Job → the state of its run that could not be acted on yet, the time of the next try, and the pauses.
        self._later: dict[int, tuple[str, float, Backoff]] = {}
        #: Job → the state of its run for which the job's log names the pressed button.
        self._said: dict[int, str] = {}
        #: Jobs whose runs were missing in the last read.
        self._missed: set[int] = set()

    def stop(self) -> None:
        """Asks for the end."""
        super().stop()
        self._workers.stop()

    def away(self) -> None:
        """Notes since when Prefect does not answer."""
        if self._away_since is None:
            self._away_since = time.monotonic()

    def answered(self) -> None:
        """Says that Prefect answers again."""
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            log.info("Prefect answers again after %.0f s: commands given meanwhile are carried out", seconds)
            self._away_since = None

    def ended(self) -> None:
        """Closes the connection."""
        self._apis.close()

    def round(self) -> None:
        """Reads the runs of jobs, and begins what people have asked for."""
        # By the server's clock, since it is compared with the server's times.
        began = self._apis.get().time or datetime.now(UTC)
        self._jobs.read()
        active = sorted(job.id for job in self._jobs.all())
        ours = {"tags": {"all_": ["prefect-jobs"]}}
        seen = self._apis.get().runs({**ours, "state": {"name": {"any_": [*RETRIES, "Cancelling"]}}})
        searched = len(active) > _CHUNK or time.monotonic() >= self._next_search
        if searched:
            since = (self._since or began - _FIRST) - _OVERLAP
            seen += self._apis.get().runs(
                {**ours, "state": {"type": {"any_": ["CANCELLED"]}}, "end_time": {"after_": since.isoformat()}}
            )
        turn = active
        if len(active) > _CHUNK:
            seen += self._apis.get().runs({**ours, "state": {"type": {"any_": ["CANCELLING"]}}})
            # Paused runs may have been resumed in Prefect, and others paused. One request for each finds some of them;
            # the other jobs take turns.
            paused = [job.id for job in self._jobs.all() if job.status in (statuses.PAUSED, statuses.HELD)]
            if len(paused) > _CHUNK:
                paused = []
            else:
                seen += self._apis.get().runs({**ours, "state": {"type": {"any_": ["PAUSED"]}}})
            turn = sorted({*paused, *self._next_turn(active), *self._missed.intersection(active)})
        looked = self._runtime.store.records(turn)
        runs = {run.id: run for run in seen}
        records = {record.id: record for record in self._runtime.store.records_of_runs(list(runs))}
        looked = [record for record in looked if record.flow_run_id]
        missing = self._others(looked, runs)
        records.update({record.id: record for record in looked})
        # A retry that was pressed during this round is due: the server tells its time in whole seconds.
        now = max(began, self._apis.get().time or began) + timedelta(seconds=1)
        for record in records.values():
            run = runs.get(str(record.flow_run_id))
            if run is not None or record.id in missing:
                self._consider(record, run, now)
        if searched:
            self._since, self._next_search = began, time.monotonic() + _SEARCHED
        for job_id, name, owner in self._retries.interrupted():
            self._begin(job_id, self._go_on, name, owner)

    def _begin(self, job_id: int, call: Callable[..., None], *args: object) -> None:
        """Starts a command for a job, unless one is in progress."""
        with self._lock:
            if job_id in self._busy:
                return
            self._busy.add(job_id)
        self._workers.submit(call, job_id, *args)

    def _next_turn(self, active: list[int]) -> list[int]:
        """The jobs after those of the last turn, starting again at the end."""
        start = bisect_right(active, self._last)
        turn = [*active[start:], *active[:start]][:_CHUNK]
        self._last = turn[-1] if turn else 0
        return turn

    def _others(self, records: list[JobRecord], runs: dict[str, RunSeen]) -> set[int]:
        """Adds the runs of jobs to those that were read.

        Returns:
            The jobs whose runs were deleted: they were missing twice in a row, and most others exist.
        """
        ids = [str(record.flow_run_id) for record in records if record.flow_run_id not in runs]
        for start in range(0, len(ids), _CHUNK):
            found = self._apis.get().runs({"id": {"any_": ids[start : start + _CHUNK]}})
            runs.update({run.id: run for run in found})
        missed = {record.id for record in records if record.flow_run_id not in runs}
        if len(missed) > _FEW and 2 * len(missed) > len(records):
            # Another server, or an empty one: nobody has deleted all of these runs.
            log.error(
                "Prefect does not have %d of %d runs. Is this the right server (PREFECT_API_URL)? "
                "They are not taken for deleted; nothing is stopped.",
                len(missed),
                len(records),
            )
            missed = set()
        gone, self._missed = missed & self._missed, missed
        return gone

    def _consider(self, record: JobRecord, run: RunSeen | None, now: datetime) -> None:
        state = "deleted" if run is None else run.state_id
        if self._done.get(record.id) == state or (run is not None and _is_ours(record, run)):
            return
        if run is not None and run.state_name in RETRIES and run.due is not None and run.due > now:
            return
        if run is not None and _is_being_picked_up(record, run):
            return
        later = self._later.get(record.id)
        if later is not None and later[0] == state and time.monotonic() < later[1]:
            return
        if record.behind and run is not None and run.state_type not in ("CANCELLING", "CANCELLED"):
            return  # the state may be the one that we are about to show
        self._begin(record.id, self._act, run)

    # -- in a thread that carries out commands ------------------------------------------------------------

    def _act(self, job_id: int, run: RunSeen | None) -> None:
        with acting(PREFECT):
            self._carry_out(job_id, run)

    def _carry_out(self, job_id: int, run: RunSeen | None) -> None:
        state = "deleted" if run is None else run.state_id
        done = False
        try:
            record = self._runtime.jobs.get(job_id)
            done = record is None or (self._stands(record, run) and self._do(self._runtime.job(record), run))
        except SchedulerConnectionError as error:
            # The command stays in Prefect, and is tried again.
            log.warning("Job %s: a command in Prefect could not be carried out yet: %s", job_id, error)
        except PrefectAway as error:
            log.info("Job %s: %s", job_id, error)
        except DatabaseError as error:
            log.warning("Job %s: a command in Prefect could not be carried out yet: %s", job_id, error)
        except (JobStateError, NotImplementedError, PrefectJobsError) as error:
            log.info("Job %s: %s", job_id, error)
            done = self._answer(job_id, run, str(error))
        except Exception as error:
            log.exception("Job %s: a command in Prefect failed", job_id)
            done = self._answer(job_id, run, str(error))
        finally:
            if done:
                self._later.pop(job_id, None)
                _remember(self._done, job_id, state)
            else:
                before = self._later.get(job_id)
                same = before is not None and before[0] == state
                backoff = before[2] if before is not None and same else Backoff(_BACKOFF[0] / 2, _BACKOFF[1])
                _remember(self._later, job_id, (state, time.monotonic() + backoff.pause(), backoff))
            with self._lock:
                self._busy.discard(job_id)

    def _go_on(self, job_id: int, name: str, owner: str) -> None:
        try:
            with acting(PREFECT):
                self._retries.go_on(job_id, name, owner)
        except PrefectJobsError as error:
            log.info("Job %s: its interrupted retry could not be finished yet: %s", job_id, error)
        except Exception:
            log.exception("Job %s: its interrupted retry could not be finished yet", job_id)
        finally:
            with self._lock:
                self._busy.discard(job_id)

    def _stands(self, before: JobRecord, run: RunSeen | None) -> bool:
        """Whether the run is unchanged, and its state is not one that we have written since."""
        if before.submitting:
            return False  # its submission is in progress: the command comes after it
        if run is None:
            return True
        now = self._apis.get().runs({"id": {"any_": [run.id]}})
        record = self._runtime.jobs.get(before.id)
        if record is None or not now or now[0].state_id != run.state_id:
            return False
        if _is_ours(record, run) or record.flow_state_id != before.flow_state_id:
            return False
        commanded = run.state_type in ("CANCELLING", "CANCELLED")
        if record.submitting:
            return False
        return commanded or not record.behind

    def _do(self, job: Job, run: RunSeen | None) -> bool:
        """Carries out the command of the run's state; returns whether nothing more is to be done for it."""
        status, over = job.handle.status, job.handle.record.final
        if run is None:
            if over:
                return True
            job.stop()
            self._say(job, "Its flow run was deleted in Prefect: the job was stopped.")
            return True
        kind = run.state_type
        # The flow engine has a run that was made here only while a worker executes it, and the worker may be gone at
        # the next retry. The process that claims the retry submits the job.
        ours = over and run.made_here and run.state_name in RETRIES
        if job.handle.record.engine_run and not ours and (over or kind not in ("CANCELLING", "CANCELLED")):
            return True  # the flow engine executes the run, and sets its states
        if over and run.state_name in RETRIES:
            return self._retries.act(job, run)
        if over:
            if kind in ("CANCELLING", "CANCELLED") and job.handle.record.retry_due is not None:
                self._say(job, "Cancel was asked for in Prefect: it is not retried.")
                job.handle.update(lambda fresh: Change({"retries": None, "face_seq": fresh.face_seq + 1}))
            return self._show_again(job, run)
        if kind == "CANCELLED" and run.message.startswith(_SERVERS_OWN) and job.handle.record.state.attempt:
            log.warning("Job %s goes on, although Prefect has cancelled its flow run: %s", job.id, run.message)
            return self._force(job, run)
        if job.scheduler_engine is None and not job.abilities.polls:
            return self._set(job, run)
        if kind in ("CANCELLING", "CANCELLED"):
            self._do_as_asked(job, run, "Cancel", job.stop)
        elif kind == "PAUSED" and status.text not in (statuses.PAUSED, statuses.HELD):
            self._do_as_asked(job, run, "Pause", job.pause)
        elif kind in ("RUNNING", "SCHEDULED", "PENDING") and status.text in (statuses.PAUSED, statuses.HELD):
            self._do_as_asked(job, run, "Resume", job.resume)
        else:
            return self._show_again(job, run)
        return True

    def _set(self, job: Job, run: RunSeen) -> bool:
        """Sets the status of a job without a scheduler to the one in Prefect."""
        kind = "CANCELLED" if run.state_type == "CANCELLING" else run.state_type
        named = next((status for status in statuses.BY_CODE.values() if status.state_name == run.state_name), None)
        new = named.name if named is not None and named.kind.state_type == kind else STATUS_BY_TYPE.get(kind)
        if new is None or new == job.cached_status:
            return self._show_again(job, run)
        self._say(job, f"Set to {run.state_name} in Prefect.")
        job.update_status(new)
        return True

    def _do_as_asked(self, job: Job, run: RunSeen, button: str, action: Callable[[], object]) -> None:
        """Notes the pressed button, once for all tries, and then does the action: its log line comes before those
        of the action."""
        job_id = job.handle.record.id
        if self._said.get(job_id) != run.state_id:
            self._say(job, f"{button} was asked for in Prefect.")
            _remember(self._said, job_id, run.state_id)
        action()

    def _say(self, job: Job, text: str) -> None:
        log.info("Job %s: %s", job.id, text)
        job.handle.apply(None, messages=((logging.INFO, text),))

    def _force(self, job: Job, run: RunSeen) -> bool:
        """Shows the job's status past the rules of Prefect, which would ask for a place in the limit again."""
        state = self._apis.get().force_state(run.id, replace(face_of(job.handle.record), lease=None))
        job.handle.update(lambda fresh: Change({"flow_state_id": state, "concurrency_lease": None}))
        return True

    def _show_again(self, job: Job, run: RunSeen) -> bool:
        return self._answer(job.handle.record.id, run, "")

    def _answer(self, job_id: int, run: RunSeen | None, why: str) -> bool:
        self._retries.answer(job_id, None if run is None else run.state_id, why)
        return True


def _is_being_picked_up(record: JobRecord, run: RunSeen) -> bool:
    """Whether a run has a job whose submission has not begun: its row is older than the claim on the run."""
    waits = run.state_type in ("SCHEDULED", "PENDING")
    return waits and OFFERED in record.face_shown and record.state.attempt == 0


def _is_ours(record: JobRecord, run: RunSeen) -> bool:
    """Whether a run's state is one that we have written, and nothing is to be done: not a retry."""
    return record.flow_state_id == run.state_id and run.state_name not in RETRIES


def _remember(known: dict[int, T], job_id: int, value: T) -> None:
    """Notes a value for a job, and drops the oldest ones if there are too many."""
    known.pop(job_id, None)
    known[job_id] = value
    while len(known) > _REMEMBERED:
        known.pop(next(iter(known)))
