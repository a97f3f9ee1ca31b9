"""Deployments with a schedule: created, changed without losing what people changed in Prefect, started, read."""

import asyncio
import inspect
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect_jobs.merging import merged
from prefect_jobs.naming import unique_name
from prefect_jobs.projection.deployments import Deployments, load_flow
from prefect_jobs.projection.prefect_connection import RunGone
from prefect_jobs.records import ScheduleRecord

#: Identifies our schedule among those that people have added to a deployment.
SLUG = "prefect-jobs"
#: Prefix of the tag that names the database of a schedule: two databases may share a Prefect server.
_STORE = "prefect-jobs-store:"
#: Characters that Prefect does not accept in a deployment's name, or that would be read as part of a URL.
_ODD = re.compile(r"[/%&<>?#~]")
# Not in the client's list of paths.
_DEPLOYMENT: Any = "/deployments/{id}"
_SCHEDULES: Any = "/deployments/{id}/schedules"
_SCHEDULE: Any = "/deployments/{id}/schedules/{schedule_id}"
_NEW_RUN: Any = "/deployments/{id}/create_flow_run"


class ScheduledDeployments(Deployments):
    """A deployment for each schedule."""

    def put_schedule(
        self, wanted: ScheduleRecord, before: ScheduleRecord | None, store: str, entrypoint: str, active: bool
    ) -> str:
        """Creates the deployment of a schedule, or changes what the call changes; everything else stays as people
        have set it in Prefect.

        Args:
            wanted: the schedule as given now.
            before: the schedule as given the last time; ``None``: never.
            store: the identity of the database.
            entrypoint: the flow, ``module:function``.
            active: whether a new deployment makes runs at once.

        Returns:
            The deployment's id.

        Raises:
            ValueError: Prefect cannot read the timing, or the flow does not take one of the parameters.
        """
        timing = timing_of(wanted.timing)
        flow = load_flow(entrypoint)
        _check_parameters(flow, wanted.parameters)
        for last in (False, True):
            try:
                return self._put(wanted, before, store, entrypoint, flow, timing, active)
            except RunGone:  # deleted at this moment
                if last:
                    raise
        raise AssertionError

    def _put(
        self,
        wanted: ScheduleRecord,
        before: ScheduleRecord | None,
        store: str,
        entrypoint: str,
        flow: Any,
        timing: Any,
        active: bool,
    ) -> str:
        name, there = self._find(wanted, before, store, flow.name)
        if there is None:
            return self._create(
                wanted, store, entrypoint, flow, name=name, schedules=[_ours(timing)], paused=not active
            )
        with self._calling() as client:
            same_flow = str(client.create_flow_from_name(flow.name)) == there["flow_id"]
        given = before.parameters if before is not None else {}
        parameters = merged(given, wanted.parameters, there["parameters"], deep=True)
        if same_flow:
            self._update_deployment(there, parameters, entrypoint, flow)
            if before is None or before.timing != wanted.timing:
                self._set_timing(there, wanted, before, timing)
            return str(there["id"])
        # The type is another one, and the flow of a deployment cannot be changed. The new one comes first: if Prefect
        # is busy in between, all of this is done again.
        ours = _own(there, before)
        theirs = [
            {key: each[key] for key in ("schedule", "active", "parameters", "max_scheduled_runs", "slug")}
            for each in there["schedules"]
            if each is not ours
        ]
        new = self._create(
            ScheduleRecord(
                wanted.label,
                wanted.user,
                wanted.name,
                wanted.type,
                parameters={key: parameters.get(key, value) for key, value in wanted.parameters.items()},
            ),
            store,
            entrypoint,
            flow,
            name=deployment_name(wanted) if name == _older_name(wanted) else name,
            schedules=[_ours(timing, active=ours is None or ours["active"]), *theirs],
            paused=there["paused"],
            tags=there["tags"],
        )
        self.delete_deployment(UUID(there["id"]))
        return new

    def _find(
        self, wanted: ScheduleRecord, before: ScheduleRecord | None, store: str, flow: str
    ) -> tuple[str, dict[str, Any] | None]:
        """The name of the deployment, and the deployment if it exists."""
        if before is not None and before.deployment_id is not None:
            there = self._read(before.deployment_id)
            if there is not None:
                return there["name"], there
        # Of a call that was interrupted, or of an earlier version, which left out the user.
        name, other = deployment_name(wanted), deployment_name(wanted, store)
        found = {each["name"]: each for each in self._named(flow, name, other, _older_name(wanted))}
        for known in (found.get(name), found.get(other), found.get(_older_name(wanted))):
            if known is not None and known["parameters"].get("user") == wanted.user and _is_of(known, store):
                return known["name"], known
        # The name may be that of a schedule in another database.
        return (other if name in found else name), None

    def _create(
        self, wanted: ScheduleRecord, store: str, entrypoint: str, flow: Any, *, name: str, tags: Any = (), **more: Any
    ) -> str:
        own = [f"user:{wanted.user}", f"schedule:{wanted.name}", f"{_STORE}{store}"]
        deployment = self._make_deployment(
            wanted.label,
            entrypoint,
            flow,
            name=name,
            parameters=wanted.parameters,
            tags=[*own, *(tag for tag in tags if tag not in own)],
            **more,
        )
        return str(deployment)

    def _set_timing(
        self, there: dict[str, Any], wanted: ScheduleRecord, before: ScheduleRecord | None, timing: Any
    ) -> None:
        ours, plain = _own(there, before), timing.model_dump(mode="json")
        same = ours is not None and plain.get("interval") == ours["schedule"].get("interval") is not None
        if ours is not None and same and "anchor_date" not in wanted.timing:
            plain["anchor_date"] = ours["schedule"]["anchor_date"]  # the phase stays
        with self._calling() as client:
            if ours is None:
                new = [{"schedule": plain, "active": True, "slug": SLUG}]
                client.request("POST", _SCHEDULES, path_params={"id": there["id"]}, json=new)
            else:
                path = {"id": there["id"], "schedule_id": ours["id"]}
                # Parameters that are left out would be removed.
                body = {"schedule": plain, "parameters": ours.get("parameters") or {}, "slug": SLUG}
                client.request("PATCH", _SCHEDULE, path_params=path, json=body)

    def resume_schedule(self, deployment: str) -> None:
        """Makes runs again, also if our schedule was made inactive by itself."""
        there = self._read(deployment)
        if there is None:
            raise RunGone("The deployment was deleted in Prefect.")
        with self._calling() as client:
            for each in there["schedules"]:
                if each.get("slug") == SLUG and not each["active"]:
                    path = {"id": deployment, "schedule_id": each["id"]}
                    body = {"active": True, "parameters": each.get("parameters") or {}}
                    client.request("PATCH", _SCHEDULE, path_params=path, json=body)
            client.resume_deployment(UUID(deployment))

    def pause_schedule(self, deployment: str) -> None:
        """Makes no runs."""
        with self._calling() as client:
            client.pause_deployment(UUID(deployment))

    def delete_deployment(self, deployment: UUID) -> bool:
        """Deletes a deployment; its runs stay. Returns whether it existed."""
        try:
            with self._calling() as client:
                client.delete_deployment(deployment)
        except RunGone:
            return False
        return True

    def run_deployment(self, deployment: str, key: str) -> str:
        """Starts a run of a deployment now; returns its id. A repeat with the same key starts no other."""
        with self._calling() as client:
            body = {"state": {"type": "SCHEDULED"}, "idempotency_key": key}
            made = client.request("POST", _NEW_RUN, path_params={"id": deployment}, json=body).json()
            return str(made["id"])

    def next_runs(self, deployment: str, count: int) -> list[datetime]:
        """When a deployment makes its next runs, in order; none while it is paused.

        Raises:
            RunGone: the deployment was deleted.
        """
        there = self._read(deployment)
        if there is None:
            raise RunGone("The deployment was deleted in Prefect.")
        if there["paused"]:
            return []
        found: set[datetime] = set()
        for each in there["schedules"]:
            if each["active"]:
                found.update(asyncio.run(_dates(each["schedule"], count)))
        return sorted(found)[:count]

    def _read(self, deployment: str) -> dict[str, Any] | None:
        try:
            with self._calling() as client:
                found: dict[str, Any] = client.request("GET", _DEPLOYMENT, path_params={"id": deployment}).json()
                return found
        except RunGone:
            return None

    def _named(self, flow: str, *names: str) -> list[dict[str, Any]]:
        with self._calling() as client:
            body = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": list(names)}}}
            found: list[dict[str, Any]] = client.request("POST", "/deployments/filter", json=body).json()
            return found


def deployment_name(record: ScheduleRecord, store: str = "") -> str:
    """The deployment's name, in characters that Prefect accepts; no other schedule gets it.

    Args:
        record: the schedule.
        store: the identity of the database, if the name is that of a schedule in another one.
    """
    parts = [record.label, record.user, record.name, *([store] if store else [])]
    text = " ".join(parts[:3])
    readable = _ODD.sub("-", text)[:150]
    # With a space in a user's name, "ann lee" and "run" would be "ann" and "lee run".
    if text == readable and not store and " " not in record.label + record.user:
        return text
    return unique_name(json.dumps(parts), readable)


def _older_name(record: ScheduleRecord) -> str:
    """The name that an earlier version gave."""
    text = f"{record.label} {record.name}"
    return unique_name(text, text.replace("/", "-").replace("%", "-")[:150])


def _is_of(there: dict[str, Any], store: str) -> bool:
    """Whether a deployment is of this database, or of an earlier version, which did not tell."""
    stores = [tag for tag in there["tags"] if tag.startswith(_STORE)]
    return not stores or f"{_STORE}{store}" in stores


def _ours(timing: Any, *, active: bool = True) -> dict[str, Any]:
    return {"schedule": timing.model_dump(mode="json"), "active": active, "slug": SLUG}


def _own(there: dict[str, Any], before: ScheduleRecord | None) -> dict[str, Any] | None:
    """Our schedule of a deployment."""
    for each in there["schedules"]:
        if each.get("slug") == SLUG:
            found: dict[str, Any] = each
            return found
    if before is not None:
        return None  # deleted in Prefect
    # Made by an earlier version: the oldest one.
    unnamed = [each for each in there["schedules"] if not each.get("slug")]
    return min(unnamed, key=lambda each: str(each["created"])) if unnamed else None


def _check_parameters(flow: Any, parameters: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: the flow does not take one of them, so that every run would fail.
    """
    known = inspect.signature(flow.fn).parameters
    unknown = sorted(parameters.keys() - known.keys())
    if unknown and not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
        raise ValueError(f"The flow {flow.name!r} takes no {', '.join(unknown)}. It takes: {', '.join(known)}.")


def timing_of(given: Mapping[str, Any]) -> Any:
    """Prefect's schedule for a timing.

    Raises:
        ValueError: Prefect cannot read it.
    """
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
    from pydantic import ValidationError

    kinds: dict[str, Any] = {"cron": CronSchedule, "interval": IntervalSchedule, "rrule": RRuleSchedule}
    kind = next(name for name in kinds if name in given)
    if kind == "rrule" and "COUNT" in given[kind].upper() and "DTSTART" not in given[kind].upper():
        raise ValueError(f"rrule={given[kind]!r} counts from no time. Add a DTSTART, such as DTSTART:20260101T090000.")
    try:
        return kinds[kind](**given)
    except (ValidationError, ValueError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ValueError(f"Prefect cannot read the schedule {kind}={given[kind]!r}: {why}.") from error


async def _dates(schedule: Mapping[str, Any], count: int) -> list[datetime]:
    from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

    kinds: dict[str, Any] = {"cron": CronSchedule, "interval": IntervalSchedule, "rrule": RRuleSchedule}
    kind = kinds[next(name for name in kinds if name in schedule)]
    dates = await kind(**schedule).get_dates(count, start=datetime.now(UTC))
    return [datetime.fromtimestamp(each.timestamp(), UTC) for each in dates]
