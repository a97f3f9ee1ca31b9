"""HTCondor: submit descriptions, the client and its helper process, and what job ads mean.

Only :mod:`~prefect_jobs.schedulers.condor.helper`, which runs as a process of its own, imports ``htcondor2``.
"""
