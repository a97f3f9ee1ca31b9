"""Events for what Prefect cannot know: what a state's event does not tell. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect_jobs import clock, statuses
from prefect_jobs.projection.states import Face, tags_of
from prefect_jobs.records import JobRecord

_JOB = "prefect-jobs.job."
_SCHEDULER = "prefect-jobs.scheduler."


def of_change(store: str, record: JobRecord, before: str | None, face: Face, told: int = 0) -> list[dict[str, Any]]:
    """The events of a change of state of a job, in the form of the API. Computed again, they have the same ids, so that
    Prefect keeps each once.

    Args:
        store: the identity of the job's database.
        record: the job.
        before: the name of the state that was shown last.
        face: the state that is shown now.
        told: the number of the last of its noted events that was sent.
    """
    found = [_happened(store, record, each) for each in record.noted.happened if each["number"] > told]
    if (face.name == statuses.HELD) == (before == statuses.HELD):
        return found
    if face.name == statuses.HELD:
        return [*found, _of_job("held", store, record)]
    return found if face.terminal else [*found, _of_job("released", store, record)]


def _happened(store: str, record: JobRecord, noted: Mapping[str, Any]) -> dict[str, Any]:
    """The event of a note of the job."""
    what, key = str(noted["what"]), str(noted.get("key") or noted["number"])
    found = _of_job(what, store, record, key)
    found["occurred"] = str(noted["time"])
    own = ("what", "number", "time", "key")
    found["payload"].update({name: value for name, value in noted.items() if name not in own})
    return found


def _of_job(what: str, store: str, record: JobRecord, key: str = "") -> dict[str, Any]:
    resource = {
        "prefect.resource.id": f"{_JOB}{store}.{record.id}",
        "prefect.resource.name": record.name,
        "prefect-jobs.job-id": str(record.id),
        "prefect-jobs.job-type": record.class_name,
        "prefect-jobs.scheduler": record.scheduler or "local",
        "prefect-jobs.cluster": "" if record.noted.cluster is None else str(record.noted.cluster),
        "prefect-jobs.app": record.label,
        "prefect-jobs.user": record.user,
    }
    payload: dict[str, Any] = {"flow_run_id": record.flow_run_id, "reason": record.state.status_message}
    if what == "held" and record.noted.hold_code is not None:
        resource["prefect-jobs.hold-code"] = str(record.noted.hold_code)
        payload["hold_code"] = record.noted.hold_code
    related = [{"prefect.resource.id": f"prefect.flow-run.{record.flow_run_id}", "prefect.resource.role": "flow-run"}]
    related += [
        {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags_of(record)
    ]
    occurred = record.state.last_status_update or clock.now()
    unique = f"{_JOB}{what}:{store}:{record.id}:{key or record.face_seq}"
    return _event(f"{_JOB}{what}", occurred, resource, related, payload, unique)


def of_scheduler(name: str, engine: str | None, *, reachable: bool, since: datetime, why: str) -> dict[str, Any]:
    """The event of a scheduler that stopped answering, or answers again.

    Args:
        name: the block; ``local``: the scheduler of a machine.
        engine: its engine.
        reachable: whether it answers again.
        since: when it stopped answering.
        why: for people.
    """
    what = "reachable" if reachable else "unreachable"
    resource = {
        "prefect.resource.id": f"{_SCHEDULER}{name}",
        "prefect.resource.name": name,
        "prefect-jobs.engine": engine or "",
    }
    key = f"{_SCHEDULER}{what}:{name}:{since.isoformat()}"
    payload = {"since": since.isoformat(), "reason": why}
    return _event(f"{_SCHEDULER}{what}", clock.now() if reachable else since, resource, [], payload, key)


def _event(
    name: str,
    occurred: datetime,
    resource: Mapping[str, str],
    related: list[dict[str, str]],
    payload: Mapping[str, Any],
    key: str,
) -> dict[str, Any]:
    return {
        "event": name,
        "occurred": occurred.isoformat(),
        "resource": dict(resource),
        "related": related,
        "payload": dict(payload),
        "id": str(uuid5(NAMESPACE_URL, key)),
    }
