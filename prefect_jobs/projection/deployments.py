"""The deployments for runs of jobs."""

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect_jobs.projection.prefect_connection import PrefectConnection, RunGone
from prefect_jobs.projection.states import tag_of_app

#: The work pool of deployments that earlier versions made, for process workers.
OLD_POOL = "jobs"
# Not in the client's list of paths.
_DEPLOYMENT: Any = "/deployments/{id}"
_POOL: Any = "/work_pools/{name}"
_BY_NAME: Any = "/deployments/name/{flow_name}/{deployment_name}"


@dataclass(frozen=True)
class Place:
    """A deployment's place in a work pool."""

    pool: str
    queue: str | None = None
    #: How many of its runs may be active at once.
    limit: int | None = None
    #: What happens to more of them: ``ENQUEUE`` or ``CANCEL_NEW``.
    collision: str | None = None

    def plain(self) -> dict[str, Any]:
        """In the form of the API, as far as given."""
        found: dict[str, Any] = {"work_pool_name": self.pool}
        if self.queue is not None:
            found["work_queue_name"] = self.queue
        if self.limit is not None:
            found["concurrency_limit"] = self.limit
        if self.collision is not None:
            found["concurrency_options"] = {"collision_strategy": self.collision}
        return found


@dataclass(frozen=True)
class Deployed:
    """What has happened to a deployment."""

    #: ``flow/name``
    name: str
    #: ``None``: it would be created.
    id: str | None
    #: ``created``, ``changed`` or ``unchanged``.
    change: str
    #: The fields that were changed.
    fields: tuple[str, ...] = ()


class Deployments(PrefectConnection):
    """A deployment for each app and job type. It has no work pool: the monitor starts its runs."""

    def __init__(self) -> None:
        super().__init__()
        self._deployments: dict[tuple[str, str], UUID] = {}

    def deploy(
        self,
        app: str,
        entrypoint: str,
        place: Place | None = None,
        *,
        version: str | None = None,
        dry: bool = False,
    ) -> Deployed:
        """Creates or updates a deployment of an app and job type.

        Args:
            app: the label of the app.
            entrypoint: the flow, ``module:function``.
            place: the place in a work pool; none: the monitor starts the runs.
            version: the version to be noted.
            dry: whether nothing is changed.
        """
        flow = load_flow(entrypoint)
        more = {} if place is None else place.plain()
        if version is not None:
            more["version"] = version
        name, there = self._of_app(app, flow, place)
        if there is not None:
            fields = self._update_deployment(there, {}, entrypoint, flow, more, dry=dry)
            found = Deployed(f"{flow.name}/{name}", there["id"], "changed" if fields else "unchanged", fields)
        elif dry:
            return Deployed(f"{flow.name}/{name}", None, "created")
        else:
            made = self._make_deployment(app, entrypoint, flow, name=name, more=more)
            found = Deployed(f"{flow.name}/{name}", str(made), "created")
        if place is None and found.id is not None:
            self._deployments[app, entrypoint] = UUID(found.id)
        return found

    def put_pool(self, name: str, kind: str, template: Mapping[str, Any], *, dry: bool = False) -> str:
        """Creates a work pool, or adds the job variables that its template lacks.

        Args:
            name: the pool.
            kind: its type.
            template: the template of a new pool.
            dry: whether nothing is changed.

        Returns:
            ``created``, ``changed`` or ``unchanged``.

        Raises:
            ValueError: there is a pool of that name of another type.
        """
        try:
            with self._calling() as client:
                there = client.request("GET", _POOL, path_params={"name": name}).json()
        except RunGone:
            there = None
        if there is None:
            if not dry:
                with self._calling() as client:
                    body = {"name": name, "type": kind, "base_job_template": dict(template)}
                    client.request("POST", "/work_pools/", json=body)
            return "created"
        if there["type"] != kind:
            raise ValueError(
                f"The work pool {name!r} is of the type {there['type']!r}, not {kind!r}. Choose another name."
            )
        present = there["base_job_template"] or {}
        known = (present.get("variables") or {}).get("properties") or {}
        missing = {key: value for key, value in template["variables"]["properties"].items() if key not in known}
        if not missing:
            return "unchanged"
        if not dry:
            variables = {
                **template["variables"],
                **(present.get("variables") or {}),
                "properties": {**known, **missing},
            }
            configuration = {**template["job_configuration"], **(present.get("job_configuration") or {})}
            body = {"base_job_template": {**present, "variables": variables, "job_configuration": configuration}}
            with self._calling() as client:
                client.request("PATCH", _POOL, path_params={"name": name}, json=body)
        return "changed"

    def deployment_of(self, app: str, entrypoint: str) -> str | None:
        """The id of the deployment of an app and flow, if this object has used it."""
        found = self._deployments.get((app, entrypoint))
        return None if found is None else str(found)

    def _deployment(self, app: str, entrypoint: str, *, fresh: bool) -> UUID:
        known = self._deployments.get((app, entrypoint))
        if known is not None and not fresh:
            return known
        flow = load_flow(entrypoint)
        name, there = self._of_app(app, flow)
        found = UUID(there["id"]) if there is not None else self._make_deployment(app, entrypoint, flow, name=name)
        self._deployments[app, entrypoint] = found
        return found

    def _of_app(self, app: str, flow: Any, place: Place | None = None) -> tuple[str, dict[str, Any] | None]:
        """The name of the deployment of an app and flow, and what there is of it.

        Prefect shows deployments of several flows in one list, so the name has the type of the jobs. One that an
        earlier version has named otherwise stays, with the schedules and automations that people gave it.
        """
        where = "" if place is None else f" @{place.pool}"
        names = f"{app} {flow.name.removesuffix('-job')}{where}", f"{app} {flow.name}{where}" if where else app
        for name in names:
            if (there := self._named_deployment(flow.name, name)) is not None:
                return name, there
        return names[0], None

    def _named_deployment(self, flow: str, name: str) -> dict[str, Any] | None:
        path = {"flow_name": flow, "deployment_name": name}
        try:
            with self._calling() as client:
                answer = client.request("GET", _BY_NAME, path_params=path)
        except RunGone:
            return None
        found: dict[str, Any] = answer.json()
        return found

    def _update_deployment(
        self,
        there: Mapping[str, Any],
        parameters: Mapping[str, Any],
        entrypoint: str,
        flow: Any,
        more: Mapping[str, Any] | None = None,
        *,
        dry: bool = False,
    ) -> tuple[str, ...]:
        """Changes what differs; returns the names of these fields. Prefect removes the next runs at each change, and
        makes them again some seconds later, so a call that says nothing new must change nothing."""
        wanted: dict[str, Any] = {
            "parameter_openapi_schema": flow.parameters.model_dump_for_openapi(),
            "entrypoint": entrypoint,
            "enforce_parameter_schema": True,
            **(more or {}),
        }
        if parameters:
            wanted["parameters"] = dict(parameters)
        if there.get("work_pool_name") == OLD_POOL and "work_pool_name" not in wanted:
            wanted["work_pool_name"] = None
        limit = (there.get("global_concurrency_limit") or {}).get("limit")
        present = {**there, "concurrency_limit": limit}
        body = {key: value for key, value in wanted.items() if not _same(present.get(key), value)}
        if body and not dry:
            with self._calling() as client:
                client.request("PATCH", _DEPLOYMENT, path_params={"id": there["id"]}, json=body)
        return tuple(sorted(body))

    def _make_deployment(
        self,
        app: str,
        entrypoint: str,
        flow: Any,
        *,
        name: str,
        parameters: dict[str, Any] | None = None,
        schedules: Any = None,
        tags: Sequence[str] = (),
        paused: bool | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> UUID:
        with self._calling() as client:
            made = client.create_deployment(
                flow_id=client.create_flow_from_name(flow.name),
                name=name,
                entrypoint=entrypoint,
                schedules=schedules,
                parameters=parameters or {"app": app},
                parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
                description=flow.description,
                tags=list(dict.fromkeys(["prefect-jobs", tag_of_app(app), *tags])),
                paused=paused,
                enforce_parameter_schema=True,
            )
        if more:
            with self._calling() as client:
                client.request("PATCH", _DEPLOYMENT, path_params={"id": str(made)}, json=dict(more))
        return made


def _same(present: Any, wanted: Any) -> bool:
    """Whether a value is there already; a dict may have more keys there."""
    if isinstance(wanted, dict) and isinstance(present, dict) and "collision_strategy" in wanted:
        return all(present.get(key) == value for key, value in wanted.items())
    return bool(present == wanted)


def load_flow(entrypoint: str) -> Any:
    """The flow at ``module:function``."""
    return pkgutil.resolve_name(entrypoint)
