"""What Prefect cannot keep, in SQL: jobs, their groups and messages, the marks of what Prefect must show."""

from prefect_jobs.store.database import Database, DatabaseError
from prefect_jobs.store.store import Change, JobGone, Store

__all__ = ["Change", "Database", "DatabaseError", "JobGone", "Store"]
