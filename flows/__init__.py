"""Flows that people start in Prefect: each makes a job, waits for it, and ends as it ends."""
