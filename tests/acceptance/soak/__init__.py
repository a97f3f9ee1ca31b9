"""The soak test: many jobs with known ends, while everything around them is killed and started again.

It is a program of its own (``python -m tests.acceptance.soak``), with a Prefect server, a pool, a Dask cluster and a
database of its own: what it kills is nobody else's. ``test_soak.py`` runs it.
"""
