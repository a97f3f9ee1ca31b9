"""The wiring of one process, in parts: what keeps jobs and results, asks Prefect, and looks at jobs on request."""
