"""The types of jobs. A job knows statuses and scheduler clients; it uses SQL and Prefect through protocols."""

from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.registry import job_class, job_type_names, register_job_type

__all__ = ["Job", "job_class", "job_type_names", "register_job_type"]
