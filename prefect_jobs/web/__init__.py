"""The web part: routes to mount in a Starlette or FastAPI app, or a whole app."""

from prefect_jobs.web.app import create_app, routes

__all__ = ["create_app", "routes"]
