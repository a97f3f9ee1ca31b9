"""How fast it is, on a real pool and a real Prefect server: ``make bench`` or ``python -m benchmarks``."""
