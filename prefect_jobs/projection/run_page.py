"""What stands on the page of a flow run besides its state: markdown artifacts, one of each kind."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection.prefect_api import PrefectApi, PrefectAway
from prefect_jobs.records import JobRecord

log = logging.getLogger(__name__)

#: In what a run shows: the reason why the job waits.
WAITING = "waits"
#: In what a run shows: whether there is a link to the scheduler's dashboard.
DASHBOARD = "dashboard"
#: In what a run shows: which of the artifacts below its page has; ``None`` or missing: that is not known.
PUT = "put"
#: The descriptions of the artifacts, which identify them: the link, the reason why a job waits, a job that is over.
_DASHBOARD = "The scheduler's dashboard"
_WAITS = "Why it waits for a machine"
_JOB = "The job"
_NAMES = {_DASHBOARD: DASHBOARD, _WAITS: WAITING, _JOB: "job"}


class RunPage:
    """The artifacts of the run of one job, while the job is shown once."""

    def __init__(self, api: PrefectApi, record: JobRecord, before: Mapping[str, Any], *, new: bool) -> None:
        """
        Args:
            api: the client.
            record: the job, claimed, with its run.
            before: what the run is noted to show.
            new: whether nothing of ours was put there yet, as far as is noted.
        """
        self._api = api
        self._record = record
        self._before = before
        self._put = set(before.get(PUT) or ())
        # Otherwise an artifact may be there that is not noted: its note was lost, or an earlier version has put it
        # there. To search for it each time would take a sixth of what the end of a job costs Prefect.
        self._all_noted = not record.face_tried and (new or before.get(PUT) is not None)
        self._shown: dict[str, Any] = {}

    @property
    def shown(self) -> dict[str, Any]:
        """What is to be noted of it."""
        return {**self._shown, PUT: sorted(self._put) if self._all_noted else None}

    def show_dashboard(self) -> None:
        """Puts a link to the scheduler's dashboard there, once."""
        record = self._record
        if record.state.status in (statuses.PENDING, statuses.SUBMITTED):
            return
        link = record.noted.dashboard
        if not link or not record.flow_run_id or self._before.get(DASHBOARD):
            return
        if self._find(_DASHBOARD) is None:
            self._create(f"[{link}]({link})", _DASHBOARD)
        self._shown[DASHBOARD] = True

    def show_waits(self) -> bool:
        """Puts why the job waits for a machine there; returns whether that is news."""
        text = self._record.noted.waits(self._record.state.attempt)
        before = str(self._before.get(WAITING) or "")
        if text == before:
            return False
        self._write(text or f"It waits no longer. Before, it was said: {before}", _WAITS)
        return True

    def show_job(self, text: str | None) -> None:
        """Puts there what the job did and used; there is one text, that of the last attempt."""
        if text is not None:
            self._write(text, _JOB)

    def _write(self, text: str, description: str) -> None:
        """Writes the artifact with this description, or creates it."""
        if self._record.flow_run_id is None:
            return
        try:
            known = self._find(description)
            if known is None:
                self._create(text, description)
            else:
                self._api.update_artifact(known, text, description)
                self._put.add(_NAMES[description])
        except PrefectAway:
            raise
        except PrefectJobsError as error:
            self._all_noted = False
            log.warning("The artifact of the flow run of job %s could not be written: %s", self._record.id, error)

    def _find(self, description: str) -> str | None:
        if self._all_noted and _NAMES[description] not in self._put:
            return None
        return self._api.find_artifact(str(self._record.flow_run_id), "markdown", description)

    def _create(self, text: str, description: str) -> None:
        self._api.create_artifact(str(self._record.flow_run_id), "markdown", text, description)
        self._put.add(_NAMES[description])
