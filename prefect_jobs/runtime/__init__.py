"""The wiring of one process: the parts that store jobs and results, call Prefect, and poll jobs on request."""
