"""The callback URL of a job, and its signature if ``CALLBACK_SECRET`` is set."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

#: Name of the route in :func:`prefect_jobs.web.routes`.
ROUTE = "prefect_jobs_update_job_status"


def path(job_id: int | str) -> str:
    """The path of the callback, relative to the mount of the routes."""
    return f"update-job-status/{job_id}/"


def sign(secret: str, job_id: int) -> str:
    """The signature of a job's callback URL."""
    return hmac.new(secret.encode(), f"update-job-status/{job_id}".encode(), hashlib.sha256).hexdigest()


def is_signed(secret: str, job_id: int | None, token: str) -> bool:
    """Whether ``token`` is the signature. Takes the same time for any other text, and if there is no such job."""
    wanted = sign(secret, job_id or 0)
    return hmac.compare_digest(wanted.encode(), token.encode(errors="replace")) and job_id is not None


def absolute_url(request: Any, job_id: int, public_url: str | None) -> str:
    """The URL to call.

    Args:
        request: a Starlette or a Django request, or ``None``.
        job_id: the job.
        public_url: the setting ``PUBLIC_URL``.

    Raises:
        ValueError: no request and no ``PUBLIC_URL``, or an object that is not a request.
    """
    if request is None:
        if public_url is None:
            raise ValueError(
                "A callback URL without a request needs the setting PREFECT_JOBS_PUBLIC_URL: the address of the "
                "web app."
            )
        return urljoin(public_url + "/", path(job_id))
    if hasattr(request, "build_absolute_uri"):
        return str(request.build_absolute_uri("/" + path(job_id)))
    if hasattr(request, "url_for"):
        from starlette.routing import NoMatchFound

        outermost = request.scope.get("router") or request.scope.get("app")
        for name in (ROUTE, *_names_below_mounts(getattr(outermost, "routes", ()))):
            with suppress(NoMatchFound, RuntimeError):
                return str(request.url_for(name, job_id=str(job_id)))
        return urljoin(str(request.base_url), path(job_id))  # not mounted in this app, or a request without an app
    raise ValueError(f"{request!r} is neither a Starlette nor a Django request.")


def _names_below_mounts(routes: Iterable[Any], prefix: str = "") -> Iterator[str]:
    """The names of the route for ``url_for``: each is prefixed by the names of the mounts around it."""
    for route in routes:
        name = getattr(route, "name", None)
        if name == ROUTE and prefix:
            yield prefix + ROUTE
        inner = getattr(route, "routes", None)
        if inner:
            yield from _names_below_mounts(inner, f"{prefix}{name}:" if name else prefix)
