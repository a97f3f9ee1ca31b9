"""What Prefect cannot keep, in SQL: jobs, their groups and messages, the marks of what Prefect must show."""

from prefect_jobs.store.database import Database, DatabaseError
from prefect_jobs.store.store import JobGone, Store

__all__ = ["Database", "DatabaseError", "JobGone", "Store"]
