"""Claims that Prefect did not answer in time. It may carry them out after they were given up: then the run is claimed,
and no lease and no row tells of it."""

import time
from collections.abc import Iterable

from prefect_jobs.projection.prefect_api import PrefectApi

#: Seconds for which such a claim is checked, and seconds between two checks.
WATCHED, PAUSE = 900.0, 10.0


class LateClaims:
    """The unanswered claims of one process, for the thread that asks Prefect."""

    def __init__(self, claim: str) -> None:
        """
        Args:
            claim: the id of the claims.
        """
        self._claim = claim
        #: Run → until when it is checked; all times are monotonic.
        self._until: dict[str, float] = {}
        self._next = 0.0

    def unanswered(self, run_ids: Iterable[str]) -> None:
        """Notes that Prefect has not told whether these runs are claimed."""
        self._until.update(dict.fromkeys(run_ids, time.monotonic() + WATCHED))

    def settled(self, run_ids: Iterable[str]) -> None:
        """Notes that it is known now."""
        for run_id in run_ids:
            self._until.pop(run_id, None)

    def waits(self, run_id: str) -> bool:
        """Whether it is not known of a run."""
        return run_id in self._until

    def carried_out(self, api: PrefectApi) -> list[str]:
        """The runs that are claimed now; each is to be settled. Those that others have claimed are settled by this.

        Raises:
            PrefectAway: Prefect does not answer.
        """
        now = time.monotonic()
        if not self._until or now < self._next:
            return []
        runs = {run.run_id: run for run in api.read_offers(list(self._until))}
        self._next = now + PAUSE
        found = {run_id for run_id, run in runs.items() if run.state_type == "PENDING" and run.claim == self._claim}
        waiting = {run_id for run_id, run in runs.items() if run.state_type == "SCHEDULED"} | found
        self._until = {run_id: until for run_id, until in self._until.items() if run_id in waiting and until > now}
        return sorted(found & self._until.keys())
