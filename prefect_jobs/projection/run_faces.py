"""Shows jobs as flow runs: the run itself, its state, name and labels, and its log lines."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection import events
from prefect_jobs.projection.node_faces import NodeFaces
from prefect_jobs.projection.prefect_api import COMMANDED, KEY, NewRun, PrefectApi, PrefectAway, RunGone
from prefect_jobs.projection.run_page import WAITING, RunPage
from prefect_jobs.projection.states import ENDS, Face, begins_run, face_of, labels_of, pid_of, tags_of
from prefect_jobs.records import JobRecord
from prefect_jobs.store import DatabaseError, Store
from prefect_jobs.store.faces import Shown

log = logging.getLogger(__name__)

_LOG_CHUNK = 200
#: In what a run shows: the tags of a run that was picked up, and that does not name its job yet.
OFFERED = "offered"
#: In what a run shows: the number of the last of the job's noted events that was sent.
_TOLD = "told"
#: In what a run shows: what identifies the state with its message.
_SAID, _STATE_ID = "said", "state_id"


@dataclass(frozen=True)
class Form:
    """What a flow run of a job is made of."""

    #: The flow, ``module:function``.
    entrypoint: str
    #: Its parameters.
    parameters: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Identifies the parameters."""
        return hashlib.sha256(json.dumps(self.parameters, sort_keys=True, default=str).encode()).hexdigest()[:16]


class RunFaces:
    """Shows the jobs of one store. For one thread."""

    def __init__(
        self,
        store: Store,
        form: Callable[[JobRecord], Form],
        nodes: NodeFaces,
        page: Callable[[JobRecord], str | None],
    ) -> None:
        self._store = store
        self._page = page
        self._form = form
        self._nodes = nodes
        #: The deployments that are noted.
        self._deployments: set[str] = set()

    def show(self, api: PrefectApi, record: JobRecord, noted: Callable[[JobRecord], JobRecord]) -> None:
        """Creates the job's flow run, or writes its state; one call each.

        Args:
            api: the client.
            record: the job, claimed.
            noted: returns the record up to which the job is shown then.

        Raises:
            PrefectAway: the jobs stay behind.
        """
        face = face_of(record)
        labels = labels_of(record)
        try:
            if record.flow_run_id is None:
                form = self._form(record)
                run = self._new_run(record, form)
                made = api.create_run(run)
                self._store.faces_shown([self._created(api, record, made, noted, form)])
                self._note_deployment(api, record, run.entrypoint)
                return
            before: dict[str, Any] = record.face_shown
            self._name(api, record, record.flow_run_id)
            described = self._show_form(api, record, before)
            state_id = record.flow_state_id
            shown = {**_shown(record), "form": described}
            page = RunPage(api, record, before, new=not before or OFFERED in before)
            waits = page.show_waits()
            # The flow engine writes the end of a run that it executes. Why a job waits may be all that is new.
            if not (record.engine_run and face.terminal) and not (waits and _is_said(record, shown)):
                if not begins_run(face, before.get("state"), engine=record.engine_run):
                    api.keep_run_count(record.flow_run_id, engine=record.engine_run)
                state_id = api.set_state(record.flow_run_id, face, record.flow_state_id) or state_id
            elif record.engine_run and face.terminal and _lost_end(api.state_types(record.flow_run_id)):
                state_id = api.force_state(record.flow_run_id, face) or state_id
            if not before or before.get("remote_id") != record.remote_id:
                api.set_labels(record.flow_run_id, labels)
            self._tell(api, record, (before.get("state") or ("", ""))[1], face)
            page.show_dashboard()
            if face.terminal:
                page.show_job(self._page(record))
            shown = {**shown, **page.shown, _STATE_ID: state_id}
            self._store.face_shown(noted(record), flow_state_id=state_id, shown=shown)
        except PrefectAway:
            raise
        except RunGone:
            over = statuses.is_final(record.state.as_status)
            log.log(
                logging.INFO if over else logging.WARNING,
                "The flow run of job %s, which is %s, was deleted in Prefect: the job is no longer shown there",
                record.id,
                record.state.status,
            )
            self._store.face_shown(record, shown=self._nodes.give_up(record))
        except DatabaseError:
            raise
        except Exception as error:
            # Refused for good, or an error of this job alone: the others must be shown.
            log.error("Job %s could not be shown in Prefect: %s", record.id, error)
            self._store.face_shown(record, failed=True)

    def create(
        self, api: PrefectApi, records: Sequence[JobRecord], noted: Callable[[JobRecord], JobRecord]
    ) -> list[JobRecord]:
        """Creates the flow runs of jobs that have none, as many in one call as Prefect accepts.

        Returns:
            The jobs that must be shown one by one.

        Raises:
            PrefectAway: the jobs stay behind.
        """
        kinds: dict[tuple[str, str], list[tuple[JobRecord, NewRun]]] = {}
        left: list[JobRecord] = []
        for record in records:
            if record.behind and record.flow_run_id is None:
                form = self._form(record)
                kinds.setdefault((record.label, form.entrypoint), []).append((record, self._new_run(record, form)))
            else:
                left.append(record)
        for pairs in kinds.values():
            if len(pairs) == 1:
                left.append(pairs[0][0])
                continue
            try:
                made = api.create_runs([run for _, run in pairs])
                shown = [
                    self._created(api, record, run, noted, Form(wanted.entrypoint, wanted.parameters))
                    for (record, wanted), run in zip(pairs, made, strict=True)
                    if run is not None
                ]
            except (PrefectAway, DatabaseError):
                raise
            except Exception as error:  # an older server, or an error of one job
                log.warning("Prefect did not create %d flow runs at once; one by one: %s", len(pairs), error)
                shown = []
            self._store.faces_shown(shown)
            self._note_deployment(api, pairs[0][0], pairs[0][1].entrypoint)
            done = {face.record.id for face in shown}
            # Something may have been put on the page of a run that was made.
            left += [replace(record, face_tried=True) for record, _ in pairs if record.id not in done]
        return left

    def _note_deployment(self, api: PrefectApi, record: JobRecord, entrypoint: str) -> None:
        """Notes the deployment of a job's run, once: the runs that people start from it become jobs, too."""
        deployment = api.deployment_of(record.label, entrypoint)
        if deployment is not None and deployment not in self._deployments:
            self._store.note_deployment(deployment, record.label)
            self._deployments.add(deployment)

    def _name(self, api: PrefectApi, record: JobRecord, run: str) -> None:
        """Gives the run the name and the tags of its job, if it does not have them."""
        before = record.face_shown
        if not before:
            # The flow engine has made this run, which does not name its job yet.
            api.adopt_run(run, record.name, tags_of(record))
        elif OFFERED in before:
            tags = sorted({*before[OFFERED], *tags_of(record)})
            api.dress_run(run, record.name, tags, pid_of(self._store.identity, record.id))
        elif before.get("name") != record.name:
            api.rename(run, record.name)

    def _tell(self, api: PrefectApi, record: JobRecord, before: str, face: Face) -> None:
        """Sends the events of a change."""
        try:
            told = int(record.face_shown.get(_TOLD) or 0)
            if happened := events.of_change(self._store.identity, record, before, face, told):
                api.emit(happened)
        except PrefectAway:
            raise
        except PrefectJobsError as error:  # an older server: the job is shown all the same
            log.info("An event of job %s could not be sent to Prefect: %s", record.id, error)

    def _show_form(self, api: PrefectApi, record: JobRecord, before: Mapping[str, Any]) -> list[Any]:
        """Sets the run's parameters to those of the job as it is submitted: an app may have changed it since the run
        was made. Those of a run that was made in Prefect stay.

        Returns:
            The attempt, and the digest of the parameters.
        """
        known, attempt = before.get("form") or [None, None], record.state.attempt
        if record.flow_run_id is None or known[0] == attempt or record.engine_run:
            return list(known)
        form = self._form(record)
        made_in_prefect = not before or OFFERED in before
        if form.digest != known[1] and not made_in_prefect:
            api.set_parameters(record.flow_run_id, form.parameters)
        return [attempt, form.digest]

    def _new_run(self, record: JobRecord, form: Form) -> NewRun:
        return NewRun(
            app=record.label,
            entrypoint=form.entrypoint,
            parameters=form.parameters,
            name=record.name,
            face=face_of(record),
            key=f"{KEY}{self._store.identity}:{record.id}",
            tags=tags_of(record),
            labels=labels_of(record),
        )

    def _created(
        self,
        api: PrefectApi,
        record: JobRecord,
        made: tuple[str, str | None, str | None],
        noted: Callable[[JobRecord], JobRecord],
        form: Form,
    ) -> Shown:
        """The values to note of a run that was created, or found."""
        run, state, current = made
        face = face_of(record)
        shown = {**_shown(record), "form": [record.state.attempt, form.digest]}
        # While there was no run, the job may have begun, and even ended.
        page = RunPage(api, replace(record, flow_run_id=run), {}, new=True)
        page.show_waits()
        page.show_dashboard()
        if face.terminal:
            page.show_job(self._page(record))
        shown.update(page.shown)
        if record.noted.happened or face.name == statuses.HELD:
            self._tell(api, replace(record, flow_run_id=run), "", face)
        if current in COMMANDED and not face.terminal:
            # The run existed already, and a person has pressed a button since: that state stays, and is not ours.
            return Shown(noted(record), run, None, shown)
        if current != face.name:
            # The run existed already: we have created it, but the answer was lost.
            state = api.set_state(run, face, state) or state
            api.set_labels(run, labels_of(record))
        return Shown(noted(record), run, state, shown)

    def send_logs(self, api: PrefectApi, job_ids: set[int]) -> bool:
        """Sends log lines of many jobs in as few calls as possible; returns whether there were any."""
        runs = self._store.runs_of(job_ids)
        lines = [message for message in self._store.unlogged(job_ids) if message.job_id in runs]
        for start in range(0, len(lines), _LOG_CHUNK):
            chunk = lines[start : start + _LOG_CHUNK]
            api.create_logs(
                [
                    {
                        "name": "prefect_jobs",
                        "level": message.level,
                        "message": message.text,
                        "timestamp": message.time.isoformat(),
                        "flow_run_id": runs[message.job_id],
                    }
                    for message in chunk
                ]
            )
            self._store.mark_logged(message.id for message in chunk)
        return bool(lines)


def _lost_end(types: Sequence[str]) -> bool:
    """Whether a run had ended when an earlier state of its job was written: the server had checked that before. A retry
    begins with other states.

    Args:
        types: of the states of the run, oldest first.
    """
    left = list(types)
    while left and left[-1] in ("RUNNING", "PAUSED"):
        left.pop()
    return len(left) < len(types) and bool(left) and left[-1] in ENDS


def _is_said(record: JobRecord, shown: Mapping[str, Any]) -> bool:
    """Whether the run has the state already, written by us."""
    before = record.face_shown
    ours = record.flow_state_id is not None and record.flow_state_id == before.get(_STATE_ID)
    return ours and before.get(_SAID) == shown[_SAID]


def _shown(record: JobRecord) -> dict[str, Any]:
    """What the run shows besides its state, so that it is written again only when it changes."""
    face, before = face_of(record), record.face_shown.get("state") or (None, "")
    state = [face.type or before[0], face.name]
    more = {key: value for key, value in record.face_shown.items() if key != OFFERED}
    happened = record.noted.happened
    told = {_TOLD: happened[-1]["number"]} if happened else {}
    said = hashlib.sha256(f"{face.type}:{face.name}:{face.message}".encode()).hexdigest()[:12]
    waits = {WAITING: text} if (text := record.noted.waits(record.state.attempt)) else {}
    more.pop(WAITING, None)
    now = {"name": record.name, "remote_id": record.remote_id, "state": state, _SAID: said}
    return {**more, **now, **told, **waits}
