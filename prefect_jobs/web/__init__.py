"""The web part: routes for a Starlette or FastAPI app of one's own, or a whole app."""

from prefect_jobs.web.app import create_app, routes

__all__ = ["create_app", "routes"]
