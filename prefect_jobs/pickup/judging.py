"""The rules of schedules, applied to runs that are due."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from prefect_jobs.pickup import rules
from prefect_jobs.pickup.served import Deployments
from prefect_jobs.projection.offers import Offer
from prefect_jobs.projection.prefect_api import PrefectApi
from prefect_jobs.projection.run_states import WAITING
from prefect_jobs.projection.states import Face
from prefect_jobs.store import Store

log = logging.getLogger(__name__)

#: Time after which a run that waits for a job of its schedule is offered again.
WAITED = timedelta(seconds=30)
#: Seconds for which one process decides about the runs of a schedule.
_LEASE = 45.0


class Judging:
    """Decides which runs of schedules become jobs."""

    def __init__(self, store: Store, deployments: Deployments, owner: str) -> None:
        self._store = store
        self._deployments = deployments
        self._owner = owner

    @contextmanager
    def mine(self, offers: Sequence[Offer]) -> Iterator[list[Offer]]:
        """The runs about which this process decides: about those of a schedule with rules, one at a time does."""
        left: list[str] = []
        held: list[str] = []
        for deployment in dict.fromkeys(offer.deployment_id for offer in offers):
            schedule = self._deployments.schedule(deployment)
            if schedule is not None and schedule.rules:
                name = f"prefect-schedule:{deployment}"
                (held if self._store.claim_lease(name, self._owner, _LEASE) else left).append(name)
        others = {name.partition(":")[2] for name in left}
        try:
            yield [offer for offer in offers if offer.deployment_id not in others]
        finally:
            self._store.release_leases(held, self._owner)

    def judged(self, api: PrefectApi, offers: Sequence[Offer]) -> tuple[list[Offer], int]:
        """The runs that become jobs; the others of a schedule end, or wait, by its rules.

        Returns:
            These runs, and the number of those that have ended.
        """
        ended: list[str] = []
        taken: set[str] = set()
        for deployment in dict.fromkeys(offer.deployment_id for offer in offers):
            mine = [offer for offer in offers if offer.deployment_id == deployment]
            schedule = self._deployments.schedule(deployment)
            if schedule is None or not schedule.rules:
                taken |= {offer.run_id for offer in mine}
                continue
            first = True
            active = self._store.active_of(deployment)
            for verdict in rules.judge(schedule.rules, mine, active, api.now()):
                run_id = verdict.offer.run_id
                if verdict.what == rules.TAKE:
                    taken.add(run_id)
                elif verdict.what == rules.END:
                    log.info("Run %s of the schedule %r: %s", run_id, schedule.name, verdict.why)
                    ended += api.set_waiting([run_id], Face("CANCELLED", "Cancelled", verdict.why))
                elif not first:
                    # It is offered again later, so that those that wait do not hide others.
                    due = api.now() + WAITED
                    api.set_waiting([run_id], Face("SCHEDULED", WAITING, verdict.why, due=due))
                else:
                    first = False
                    if verdict.offer.state_name != WAITING:
                        api.set_waiting([run_id], Face("SCHEDULED", WAITING, verdict.why))
        return [offer for offer in offers if offer.run_id in taken], len(ended)
