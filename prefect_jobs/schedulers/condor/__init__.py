"""HTCondor: submit descriptions, the client and its helper process, and the meaning of job ads.

Only :mod:`~prefect_jobs.schedulers.condor.helper`, which runs as a separate process, imports ``htcondor2``.
"""
