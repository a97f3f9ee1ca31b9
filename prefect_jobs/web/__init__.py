"""The web part: a table for the pages of an app, routes to mount in a Starlette or FastAPI app, or a whole app."""

from prefect_jobs.web.app import create_app, routes
from prefect_jobs.web.custom import CustomJobAction
from prefect_jobs.web.site import JobsMiddleware
from prefect_jobs.web.table import JobsTable

__all__ = ["CustomJobAction", "JobsMiddleware", "JobsTable", "create_app", "routes"]
