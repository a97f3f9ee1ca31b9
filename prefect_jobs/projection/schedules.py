"""Deployments with a schedule: created, changed without losing what people changed in Prefect, started, read."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect_jobs.naming import unique_name
from prefect_jobs.projection.deployments import Deployments, load_flow
from prefect_jobs.projection.prefect_connection import RunGone
from prefect_jobs.records import ScheduleRecord

#: Identifies our schedule among those that people have added to a deployment.
SLUG = "prefect-jobs"
# Not in the client's list of paths.
_DEPLOYMENT: Any = "/deployments/{id}"
_SCHEDULES: Any = "/deployments/{id}/schedules"
_SCHEDULE: Any = "/deployments/{id}/schedules/{schedule_id}"
_NEW_RUN: Any = "/deployments/{id}/create_flow_run"


class ScheduledDeployments(Deployments):
    """A deployment for each schedule."""

    def put_schedule(self, wanted: ScheduleRecord, before: ScheduleRecord | None, entrypoint: str, active: bool) -> str:
        """Creates the deployment of a schedule, or changes what the call changes; everything else stays as people
        have set it in Prefect.

        Args:
            wanted: the schedule as given now.
            before: the schedule as given the last time; ``None``: never.
            entrypoint: the flow, ``module:function``.
            active: whether a new deployment makes runs at once.

        Returns:
            The deployment's id.

        Raises:
            ValueError: Prefect cannot read the timing.
        """
        timing = timing_of(wanted.timing)
        flow = load_flow(entrypoint)
        there = self._find(wanted, before, flow.name)
        if there is None:
            return self._create(wanted, entrypoint, flow, timing, active=active)
        if there["entrypoint"] == entrypoint:
            self._change(there, wanted, before, flow, timing)
            return str(there["id"])
        # The type is another one, and the flow of a deployment cannot be changed. The new one comes first: if Prefect
        # is busy in between, all of this is done again.
        active = not there["paused"] and any(each["active"] for each in there["schedules"])
        new = self._create(wanted, entrypoint, flow, timing, active=active)
        self.delete_deployment(UUID(there["id"]))
        return new

    def _find(self, wanted: ScheduleRecord, before: ScheduleRecord | None, flow: str) -> dict[str, Any] | None:
        if before is not None and before.deployment_id is not None:
            return self._read(before.deployment_id)
        # Of a call that was interrupted, or of an earlier version, which left out the user.
        for name in (deployment_name(wanted), deployment_name(wanted, user=False)):
            there = self._read_named(flow, name)
            if there is not None and there["parameters"].get("user") == wanted.user:
                return there
        return None

    def _create(self, wanted: ScheduleRecord, entrypoint: str, flow: Any, timing: Any, *, active: bool) -> str:
        from prefect.client.schemas.actions import DeploymentScheduleCreate

        schedule = DeploymentScheduleCreate(schedule=timing, active=active, slug=SLUG)
        deployment = self._make_deployment(
            wanted.label,
            entrypoint,
            flow,
            name=deployment_name(wanted),
            parameters=wanted.parameters,
            schedules=[schedule],
            tags=[f"user:{wanted.user}", f"schedule:{wanted.name}"],
        )
        return str(deployment)

    def _change(
        self, there: dict[str, Any], wanted: ScheduleRecord, before: ScheduleRecord | None, flow: Any, timing: Any
    ) -> None:
        given = before.parameters if before is not None else {}
        parameters = dict(there["parameters"])
        for name in {*given, *wanted.parameters}:
            if name not in wanted.parameters:
                parameters.pop(name, None)
            elif name not in given or given[name] != wanted.parameters[name]:
                parameters[name] = wanted.parameters[name]
        schema = flow.parameters.model_dump_for_openapi()
        with self._calling() as client:
            body = {"parameters": parameters, "parameter_openapi_schema": schema}
            client.request("PATCH", _DEPLOYMENT, path_params={"id": there["id"]}, json=body)
            if before is not None and before.timing == wanted.timing:
                return
            plain = timing.model_dump(mode="json")
            ours = next((each for each in there["schedules"] if each.get("slug") == SLUG), None)
            if ours is None and len(there["schedules"]) == 1 and not there["schedules"][0].get("slug"):
                ours = there["schedules"][0]  # made by an earlier version
            if ours is None:
                new = [{"schedule": plain, "active": True, "slug": SLUG}]
                client.request("POST", _SCHEDULES, path_params={"id": there["id"]}, json=new)
            else:
                path = {"id": there["id"], "schedule_id": ours["id"]}
                body = {"schedule": plain, "active": ours["active"]}
                client.request("PATCH", _SCHEDULE, path_params=path, json=body)

    def pause_deployment(self, deployment: UUID, *, paused: bool) -> None:
        """Pauses or resumes a deployment's schedules."""
        with self._calling() as client:
            if paused:
                client.pause_deployment(deployment)
            else:
                client.resume_deployment(deployment)

    def delete_deployment(self, deployment: UUID) -> None:
        """Deletes a deployment; its runs stay."""
        try:
            with self._calling() as client:
                client.delete_deployment(deployment)
        except RunGone:
            return

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

    def _read_named(self, flow: str, name: str) -> dict[str, Any] | None:
        try:
            with self._calling() as client:
                return self._read(str(client.read_deployment_by_name(f"{flow}/{name}").id))
        except RunGone:
            return None


def deployment_name(record: ScheduleRecord, *, user: bool = True) -> str:
    """The deployment's name: unique for app, user and name, in characters that Prefect accepts."""
    parts = (record.label, record.user, record.name) if user else (record.label, record.name)
    wanted = " ".join(parts)
    # Prefect accepts neither '/' nor '%'. A name that is cut or replaced must not equal that of another schedule.
    return unique_name(wanted, wanted.replace("/", "-").replace("%", "-")[:150])


def timing_of(given: Mapping[str, Any]) -> Any:
    """Prefect's schedule for a timing.

    Raises:
        ValueError: Prefect cannot read it.
    """
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
    from pydantic import ValidationError

    kinds: dict[str, Any] = {"cron": CronSchedule, "interval": IntervalSchedule, "rrule": RRuleSchedule}
    kind = next(name for name in kinds if name in given)
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
