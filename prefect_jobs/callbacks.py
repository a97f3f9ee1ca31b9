"""The callback URL of a job, and the signature that it carries where ``CALLBACK_SECRET`` is set."""

import hashlib
import hmac
from typing import Any
from urllib.parse import urljoin

#: Name of the route that :func:`prefect_jobs.web.routes` gives.
ROUTE = "prefect_jobs_update_job_status"


def path(job_id: int) -> str:
    """The path of the callback, relative to where the routes are mounted."""
    return f"update-job-status/{job_id}/"


def sign(secret: str, job_id: int) -> str:
    """The signature of a job's callback URL."""
    return hmac.new(secret.encode(), f"update-job-status/{job_id}".encode(), hashlib.sha256).hexdigest()


def absolute_url(request: Any, job_id: int, public_url: str | None) -> str:
    """The address to be called.

    Args:
        request: a Starlette or a Django request, or ``None``.
        job_id: the job.
        public_url: the setting ``PUBLIC_URL``.

    Raises:
        ValueError: no request and no ``PUBLIC_URL``, or something that is no request.
    """
    if request is None:
        if public_url is None:
            raise ValueError(
                "A callback URL without a request needs the setting PREFECT_JOBS_PUBLIC_URL: the address at which "
                "the web app is reached."
            )
        return urljoin(public_url + "/", path(job_id))
    if hasattr(request, "build_absolute_uri"):
        return str(request.build_absolute_uri("/" + path(job_id)))
    if hasattr(request, "url_for"):
        from starlette.routing import NoMatchFound

        try:
            return str(request.url_for(ROUTE, job_id=str(job_id)))
        except (NoMatchFound, RuntimeError):  # not mounted in this app, or a request outside of any
            return urljoin(str(request.base_url), path(job_id))
    raise ValueError(f"{request!r} is neither a Starlette nor a Django request.")
