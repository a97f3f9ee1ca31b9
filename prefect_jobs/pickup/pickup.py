"""Flow runs become jobs: the job's row first, then the claim on the run, then the submission.

A lease in SQL, which names the run and the claim, begins before the row and ends after the submission. A process that
is killed in between leaves it behind, and the next one goes on: it reads from the row, the token of the submission and
the run's state how far that was.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from prefect_jobs import statuses
from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import DatabaseError, JobStateError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs import submission, submission_many
from prefect_jobs.jobs.base import Job
from prefect_jobs.pickup.drafts import BadRun, Draft, draft
from prefect_jobs.pickup.judging import Judging
from prefect_jobs.pickup.late_claims import LateClaims
from prefect_jobs.pickup.served import Deployments, Served
from prefect_jobs.projection.offers import CLAIMED_AT_ONCE, Offer
from prefect_jobs.projection.prefect_api import KEY, PrefectApi, PrefectAway
from prefect_jobs.projection.run_states import Claim
from prefect_jobs.projection.states import PID, Face
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.runtime.wiring import Runtime

log = logging.getLogger(__name__)

#: Seconds after which a run counts as left behind, if its process does not renew the lease.
LEASE = 45.0
_PREFIX = "prefect-pickup:"
#: Seconds until it is found out how far a pick-up was: Prefect, which was busy, has refused it; it has not answered.
_REFUSED, _UNANSWERED = 1.0, 10.0
#: Seconds until a submission that reached no scheduler is tried again: the first and the longest pause.
PAUSES = (2.0, 60.0)


class PickUp:
    """Makes jobs of flow runs, for one thread that asks Prefect; other threads submit the jobs."""

    def __init__(
        self,
        runtime: Runtime,
        deployments: Deployments,
        begin: Callable[..., None],
        worker: str | None = None,
    ) -> None:
        """
        Args:
            runtime: stores and submits the jobs.
            deployments: tells what the runs are.
            begin: calls a function in another thread.
            worker: the Prefect worker that picks up the runs; none: the monitor.
        """
        self._runtime = runtime
        self._deployments = deployments
        self._begin = begin
        self._worker = worker
        self._owner = uuid.uuid4().hex
        self._judging = Judging(runtime.store, deployments, self._owner)
        self._claim = str(uuid.uuid4())
        self._late = LateClaims(self._claim)
        self._lock = threading.Lock()
        #: The leases of runs that are being picked up here.
        self._held: set[str] = set()
        #: Lease → the pauses between tries.
        self._pauses: dict[str, Backoff] = {}

    # -- new runs ---------------------------------------------------------------------------------------

    def take(
        self, api: PrefectApi, offers: Sequence[Offer], served: Mapping[str, Served], room: int | None = None
    ) -> int:
        """Makes jobs of runs that are due; those that have one are left to the monitor's commands.

        Args:
            api: the client.
            offers: the runs, the oldest first.
            served: their deployments.
            room: how many may become jobs; none: all.

        Returns:
            The number of runs that are no longer offered.
        """
        store = self._runtime.store
        run_ids = [run.run_id for run in offers]
        known = {record.flow_run_id for record in store.records_of_runs(run_ids)}
        known |= store.to_be_deleted(run_ids)  # a person has deleted the job
        fresh = [
            offer
            for offer in offers
            if offer.run_id not in known and offer.deployment_id in served and not _is_of_a_job(offer)
        ]
        done = 0
        with self._judging.mine(fresh) as mine:
            wanted, ended = self._judging.judged(api, mine)
            done += ended
            wanted = wanted[:room]
            free = [offer for offer in wanted if not served[offer.deployment_id].limited]
            for start in range(0, len(free), CLAIMED_AT_ONCE):
                done += self._take_some(api, free[start : start + CLAIMED_AT_ONCE], served)
            # In one call Prefect would give the places in a limit to the newest runs.
            full: set[str] = set()
            for offer in wanted:
                if served[offer.deployment_id].limited and offer.deployment_id not in full:
                    taken = self._take_some(api, [offer], served)
                    done += taken
                    if not taken:
                        full.add(offer.deployment_id)
        return done

    def _take_some(self, api: PrefectApi, offers: Sequence[Offer], served: Mapping[str, Served]) -> int:
        """Claims runs, and begins to submit their jobs; returns the number of those that are no longer offered."""
        store = self._runtime.store
        names = {offer.run_id: _lease_name(offer.run_id, self._claim) for offer in offers}
        with self._lock:
            self._held |= set(names.values())
        drafts: list[Draft] = []
        try:
            mine = store.claim_leases(list(names.values()), self._owner, LEASE)
            refused = self._save(api, [offer for offer in offers if names[offer.run_id] in mine], served, drafts)
            ids = [each.offer.run_id for each in drafts]
            claims = api.claim(ids, self._claim) if ids else {}
            for each in drafts:
                if each.offer.run_id not in claims:
                    store.drop_unsubmitted(each.job.handle.record.id)
            kept = self._noted([each for each in drafts if each.offer.run_id in claims], claims)
        except PrefectAway as error:
            self._let_go(names.values())
            saved = {each.offer.run_id: each.lease for each in drafts}
            if not error.busy:
                self._late.unanswered(saved)
            # go_on() finds out how far this was: it need not wait for the end of the leases.
            store.claim_leases(list(saved.values()), self._owner, _REFUSED if error.busy else _UNANSWERED)
            store.release_leases([name for run_id, name in names.items() if run_id not in saved], self._owner)
            raise
        except BaseException:
            self._let_go(names.values())  # the leases expire, and go_on() finds out how far this was
            raise
        self._late.settled(claims)
        left = [name for run_id, name in names.items() if run_id not in claims]
        self._let_go(left)
        store.release_leases(left, self._owner)
        if kept:
            self._begin(self._submit, kept)
        return len(claims) + refused

    def _save(self, api: PrefectApi, offers: Sequence[Offer], served: Mapping[str, Served], saved: list[Draft]) -> int:
        """Saves jobs of runs, and adds them to ``saved``; returns the number of runs that are Failed: their parameters
        are no job."""
        refused = 0
        for offer in offers:
            try:
                each = self._draft(offer, served[offer.deployment_id], self._claim)
                each.save()
            except BadRun as error:
                log.warning("Run %s cannot become a job: %s", offer.run_id, error)
                refused += len(api.set_waiting([offer.run_id], Face("FAILED", "Failed", str(error))))
            except DatabaseError:
                raise
            except PrefectJobsError as error:  # Prefect must be asked for a scheduler, or another process was faster
                log.info("Run %s is picked up later: %s", offer.run_id, error)
            else:
                saved.append(each)
        return refused

    def _draft(self, offer: Offer, served: Served, claim: str, worker: str | None = None) -> Draft:
        schedule = self._deployments.schedule(offer.deployment_id)
        found = draft(self._runtime, offer, served, schedule, worker or self._worker)
        return replace(found, lease=_lease_name(offer.run_id, claim))

    def _noted(self, drafts: Sequence[Draft], claims: Mapping[str, Claim]) -> list[Draft]:
        """Notes the states of the claims: they are ours, and no command of people.

        Returns:
            The jobs to be submitted. A row may be gone, if this process was suspended and another one has gone on: its
            run is found again by its lease.
        """
        kept: list[Draft] = []
        changes = [(each.job.handle.record.id, _noting(claims[each.offer.run_id])) for each in drafts]
        for each, answer in zip(drafts, self._runtime.jobs.update_all(changes), strict=True):
            if isinstance(answer, Exception):
                log.info("Run %s: %s", each.offer.run_id, answer)
                self._runtime.store.claim_leases([each.lease], self._owner, 1.0)
                self._let_go([each.lease])
            else:
                each.job.handle.take(answer.after)
                kept.append(each)
        return kept

    def adopt(self, api: PrefectApi, run_id: str) -> int:
        """Makes a job of a run that was claimed already; returns its id.

        Raises:
            PrefectJobsError: it cannot become a job, or it was deleted.
        """
        known = self._runtime.store.records_of_runs([run_id])
        if known:
            return known[0].id
        run = next(iter(api.read_offers([run_id])), None)
        served = {} if run is None else self._deployments.find(api, [run.deployment_id])
        if run is None or run.deployment_id not in served:
            raise BadRun("It is not a run of a flow that becomes a job.")
        each = self._draft(run, served[run.deployment_id], str(uuid.uuid4()))
        with self._lock:
            self._held.add(each.lease)
        self._runtime.store.claim_lease(each.lease, self._owner, LEASE)
        each.save()
        self._begin(self._submit, [each])
        return each.job.handle.record.id

    # -- submission, in another thread ------------------------------------------------------------------

    def _submit(self, drafts: Sequence[Draft]) -> None:
        try:
            going = self._still_pending(drafts)
            by_id = {id(each.job): each for each in going}

            def report(job: Job, problem: Exception | None) -> None:
                self._submitted(by_id[id(job)], problem)

            many = [each for each in going if not each.work or each.job.submits_together(*each.work)]
            submission_many.execute_many([(each.job, each.work) for each in many], report)
            for each in going:
                if each not in many:
                    self._submitted(each, each.executed())
        finally:
            # Where the database fails, the leases expire, and go_on() finds out how far this was.
            self._let_go([each.lease for each in drafts])

    def _still_pending(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Those that nobody has stopped while they waited for a thread."""
        store = self._runtime.store
        there = {record.id: record for record in store.records([each.job.handle.record.id for each in drafts])}
        going = []
        for each in drafts:
            record = there.get(each.job.handle.record.id)
            if record is not None and record.state.status == statuses.PENDING:
                going.append(each)
        over = [each.lease for each in drafts if each.job.handle.record.id in there and each not in going]
        store.release_leases(over, self._owner)
        # A row that is gone was deleted by a person, or by a process that took this one for dead: go_on() finds out.
        gone = [each.lease for each in drafts if each.job.handle.record.id not in there]
        store.claim_leases(gone, self._owner, _REFUSED)
        return going

    def _submitted(self, each: Draft, problem: Exception | None) -> None:
        """Ends the pick-up of a run, unless its job must be submitted later: the scheduler was not reached, or another
        process may be submitting it."""
        name, store = each.lease, self._runtime.store
        if problem is not None:
            log.warning("Run %s: %s", each.offer.run_id, problem)
            record = self._runtime.jobs.get(each.job.handle.record.id)
            waits = record is not None and record.state.status == statuses.PENDING
            if waits and (isinstance(problem, JobStateError) or submission.may_be_tried_again(problem.__cause__)):
                pause = self._pauses.setdefault(name, Backoff(*PAUSES)).pause()
                self._let_go([name])
                store.claim_leases([name], self._owner, pause)
                return
        self._pauses.pop(name, None)
        store.release_leases([name], self._owner)
        if problem is not None and not isinstance(problem, PrefectJobsError):
            self._fail(each.job, problem)

    def _fail(self, job: Job, problem: Exception) -> None:
        """Notes an error that came before the submission, so that it changed no status."""
        record = self._runtime.jobs.get(job.handle.record.id)
        if record is not None and record.state.status == statuses.PENDING and not record.submission_unknown:
            submission.refused(job, problem)

    # -- what is in progress, or was left behind --------------------------------------------------------

    def keep(self) -> None:
        """Renews the leases of the runs that are being picked up here."""
        with self._lock:
            held = list(self._held)
        if held:
            self._runtime.store.claim_leases(held, self._owner, LEASE)

    def _let_go(self, names: Iterable[str]) -> None:
        with self._lock:
            self._held -= set(names)

    def go_on(self, api: PrefectApi) -> None:
        """Goes on with runs whose process died while it picked them up, and with those whose scheduler was not
        reached.

        Raises:
            PrefectAway: Prefect does not answer; the leases stay.
        """
        for run_id in self._late.carried_out(api):
            self._go_on(api, _lease_name(run_id, self._claim))
            self._late.settled([run_id])
        for name, _ in self._runtime.store.ended_leases(_PREFIX):
            with self._lock:
                if name in self._held:
                    continue
            self._go_on(api, name)

    def _go_on(self, api: PrefectApi, name: str) -> None:
        store = self._runtime.store
        if not store.claim_lease(name, self._owner, LEASE):
            return
        run_id, _, claim = name.removeprefix(_PREFIX).partition(":")
        try:
            again = self._left_behind(api, run_id, claim)
        except SchedulerConnectionError as error:
            log.info("Run %s is picked up later: %s", run_id, error)
            return  # the lease stays, and expires again
        except PrefectAway:
            store.claim_lease(name, self._owner, _REFUSED)
            raise
        if again is None:
            self._pauses.pop(name, None)
            if claim == self._claim and self._late.waits(run_id):
                return  # Prefect may carry it out after this process has ended, too: the lease is for the next one
            store.release_lease(name, self._owner)
            return
        self._late.settled([run_id])
        with self._lock:
            self._held.add(name)
        self._begin(self._submit, [again])

    def _left_behind(self, api: PrefectApi, run_id: str, claim: str) -> Draft | None:
        """A run's job that must be submitted; ``None``: nothing is to be done, or it is offered again.

        Raises:
            SchedulerConnectionError: it cannot be decided now.
        """
        store = self._runtime.store
        record = next(iter(store.records_of_runs([run_id])), None)
        if record is not None and (record.final or record.remote_id or record.state.status != statuses.PENDING):
            return None
        if store.to_be_deleted([run_id]):
            return None  # a person has deleted the job
        run = next(iter(api.read_offers([run_id])), None)
        claimed = run is not None and run.state_type == "PENDING" and run.claim == claim
        begun = record is not None and (record.submission_token is not None or record.state.attempt > 0)
        if run is None or not (begun or claimed):
            commanded = run is not None and run.state_type in _COMMANDS
            others = store.others_hold(f"{_PREFIX}{run_id}:", self._owner)  # then it may be their row
            if record is not None and not (begun or commanded or others):
                store.drop_unsubmitted(record.id)
            return None
        if begun and run.state_type in _COMMANDS:
            raise SchedulerConnectionError("A person cancels it, and its scheduler was not reached yet.")
        try:
            each = self._made_again(api, run, claim, record)
            if record is not None and begun:
                each = replace(each, job=self._runtime.job(record))
            else:
                if record is not None:
                    store.drop_unsubmitted(record.id)  # its parts may be missing
                each.save()
        except BadRun as error:
            log.warning("Run %s cannot become a job: %s", run_id, error)
            if record is not None and begun:
                submission.refused(self._runtime.job(record), error)
            else:
                if record is not None:
                    store.drop_unsubmitted(record.id)
                api.set_state(run_id, Face("FAILED", "Failed", str(error)), run.state_id)
            return None
        log.info("Run %s was left behind before its job was submitted; going on", run_id)
        return each

    def _made_again(self, api: PrefectApi, run: Offer, claim: str, record: JobRecord | None) -> Draft:
        known = self._deployments.find(api, [run.deployment_id] if run.deployment_id else [])
        place = known.get(run.deployment_id) or (None if record is None else _served_by(record))
        if place is None:
            raise BadRun("Its deployment was deleted, or this process does not know the type of its job.")
        return self._draft(run, place, claim, None if record is None else record.worker)


def _lease_name(run_id: str, claim: str) -> str:
    return f"{_PREFIX}{run_id}:{claim}"


def _noting(claim: Claim) -> Callable[[JobRecord], Change]:
    return lambda fresh: Change({"flow_state_id": claim.state_id, "concurrency_lease": claim.lease})


_COMMANDS = ("CANCELLING", "CANCELLED")


def _is_of_a_job(offer: Offer) -> bool:
    """Whether a run was made for a job, or belongs to one already: of another database, or it was deleted."""
    return offer.key.startswith(KEY) or offer.pid.startswith(PID)


def _served_by(record: JobRecord) -> Served | None:
    from prefect_jobs.jobs import registry

    cls = registry.load(record.type)
    return None if cls is None else Served("", cls.flow_entrypoint, record.type, cls)
