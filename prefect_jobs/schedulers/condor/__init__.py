"""HTCondor: submit descriptions, the client and its helper process, and the meaning of job ads.

Only :mod:`~prefect_jobs.schedulers.condor.helper` and :mod:`~prefect_jobs.schedulers.condor.submit.file_reader`, which
run as separate processes, import ``htcondor2``.
"""
