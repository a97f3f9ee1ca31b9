"""The routes to mount, and a Starlette application with them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Route

from prefect_jobs import callbacks
from prefect_jobs.app import App
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web import api, files, logs, openapi, schedulers
from prefect_jobs.web.feed import events
from prefect_jobs.web.owner import Owner, refuse
from prefect_jobs.web.site import PAGE, Site
from prefect_jobs.web.status_callback import StatusCallback
from prefect_jobs.web.views import Views, static_file
from prefect_jobs.web.visits import Permission, Rules


class _Name(Convertor[str]):
    """The name of an action in an address: any text, of which some are no names, and get an answer all the same."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name_of_action", _Name())


def routes(
    *apps: type[App],
    permission: Permission | None = None,
    allow_anonymous: bool = False,
    tables: Sequence[Any] = (),
) -> list[BaseRoute]:
    """The routes of prefect-jobs, for a Starlette or FastAPI app: ``Mount("/jobs", routes=routes(MyApp))``.

    - ``/`` is the page of all jobs, ``/jobs/<id>/`` that of one, with its logs and files;
    - ``/api/…`` is the same for programs, as JSON; ``/events`` tells of changes (Server-Sent Events);
    - ``GET`` or ``POST`` of ``/update-job-status/<job_id>/`` refreshes the job's status from its scheduler, now or in
      ``?delay=`` seconds (0 to 86,400, fractions allowed; stored in the database, so that it survives restarts). It
      needs no login: it can refresh a status, and neither sets nor shows one. It answers

      - 200 ``{"success": true}`` after the refresh, ``{"success": "scheduled"}`` for a delayed one;
      - 400 with ``"error"`` if the delay is not such a number;
      - 403 if the setting ``CALLBACK_SECRET`` is set and ``?token=`` is not the signature of this URL;
      - 404 if ``apps`` have no such job;
      - 429 with ``"error"`` if the address of the caller has sent too many calls;
      - 502 if the scheduler does not answer, or the update fails;

      the last three with ``{"success": false}`` and nothing else. Calls for the same job within a second share one
      answer. The first request starts the thread that runs delayed checks.

    Args:
        *apps: the apps whose jobs are served; jobs of other apps are 404.
        permission: ``permission(request, action, job)``, plain or async: who sees more than the own jobs. For one job
            ``action`` is ``"view"``, the name of an action or ``"custom:<label>"``, and the answer a bool. For lists it
            is asked once, with ``"list"`` and ``None``: ``True`` is all jobs of the apps, a dict is filters as
            ``list_jobs`` has them.
        allow_anonymous: visitors need not sign in; each browser is a user of its own.
        tables: tables or custom actions whose functions any process finds by their labels.

    Raises:
        ValueError: an app has no valid ``package``.
    """
    labels = frozenset(app.check_package() for app in apps)
    return site_routes(Rules(labels, permission, allow_anonymous), labels, tables)


def site_routes(rules: Rules, called: frozenset[str], tables: Sequence[Any] = ()) -> list[BaseRoute]:
    """The routes.

    Args:
        rules: whose jobs the pages show to whom.
        called: packages of the apps whose jobs may call back.
        tables: as for :func:`routes`.
    """
    site = Site(rules, tables)
    small = [Middleware(GZipMiddleware, compresslevel=5)]
    views, acts, end = Views(site), api.Actions(site), site.endpoint
    job = "/jobs/{job_id}"
    return [
        *_callbacks(called),
        Route("/", end(views.jobs), name=PAGE, middleware=small),
        Route("/rows", end(views.rows), middleware=small),
        Route("/events", end(events)),
        Route("/schedulers/", end(schedulers.page)),
        Route("/actions/{name:name_of_action}", end(views.act_on_many), methods=["POST"]),
        Route(f"{job}/", end(views.job), name="prefect_jobs_job", middleware=small),
        Route(f"{job}/details", end(views.details)),
        Route(f"{job}/actions/{{name:name_of_action}}", end(views.act), methods=["POST"]),
        Route(f"{job}/logs/", end(views.logs), middleware=small),
        Route(f"{job}/logs/download", end(logs.download)),
        Route(f"{job}/files/{{path:path}}", end(files.download)),
        Route("/api/session", end(api.session)),
        Route("/api/jobs", end(api.jobs), middleware=small),
        Route("/api/jobs.csv", end(api.csv_of_jobs), middleware=small),
        Route("/api/actions/{name:name_of_action}", end(acts.many), methods=["POST"]),
        Route(f"/api{job}", end(api.job)),
        Route(f"/api{job}/actions/{{name:name_of_action}}", end(acts.one), methods=["POST"]),
        Route(f"/api{job}/logs", end(logs.as_json)),
        Route(f"/api{job}/files", end(files.as_json)),
        Route("/api/schedulers", end(schedulers.as_json)),
        Route("/api/openapi.json", end(openapi.document)),
        Route("/static/{hash}/{name}", static_file, middleware=small),
    ]


def _callbacks(labels: frozenset[str]) -> list[Route]:
    callback = StatusCallback(labels)
    path = "/" + callbacks.path("{job_id}")
    found = [
        Route(path, callback.answer, methods=["GET", "POST"], name=callbacks.ROUTE),
        # A redirect to the slash would turn a POST into a GET, or lose it.
        Route(path.rstrip("/"), callback.answer, methods=["GET", "POST"], name=f"{callbacks.ROUTE}_bare"),
    ]
    for route in found:
        (route.methods or set()).discard("HEAD")  # Starlette adds it to GET, but HEAD requests no refresh
    return found


def create_app(
    *apps: type[App],
    middleware: Sequence[Middleware] = (),
    permission: Permission | None = None,
    allow_anonymous: bool = False,
    tables: Sequence[Any] = (),
) -> Starlette:
    """A whole Starlette app with the :func:`routes`; its process runs delayed checks.

    If you mount it in another app, the lifespan of that app applies, and the first request starts delayed checks.

    Args:
        *apps: as for :func:`routes`.
        middleware: Starlette's, outermost first, such as authentication.
        permission: as for :func:`routes`.
        allow_anonymous: as for :func:`routes`.
        tables: as for :func:`routes`.

    Raises:
        ValueError: an app has no valid ``package``.
    """
    return whole_app(routes(*apps, permission=permission, allow_anonymous=allow_anonymous, tables=tables), middleware)


def owners_app(*apps: type[App]) -> Starlette:
    """The app of ``prefect-jobs serve``: its pages show the jobs of all apps to the user who runs it.

    Args:
        *apps: the apps whose jobs may call back.

    Raises:
        ValueError: an app has no valid ``package``.
    """
    called = frozenset(app.check_package() for app in apps)
    middleware = Middleware(AuthenticationMiddleware, backend=Owner(), on_error=refuse)
    return whole_app(site_routes(Rules(None, lambda *_: True), called), [middleware])


def whole_app(given: Sequence[BaseRoute], middleware: Sequence[Middleware]) -> Starlette:
    """A Starlette app with these routes."""
    return Starlette(routes=list(given), middleware=list(middleware), lifespan=_lifespan)


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    runtime = await run_sync(get_runtime)
    runtime.checker.start()
    try:
        yield
    finally:
        await run_sync(runtime.checker.close)
