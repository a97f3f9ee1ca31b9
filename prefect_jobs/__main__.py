"""``python -m prefect_jobs``: the command line."""

from prefect_jobs.cli import main

if __name__ == "__main__":
    main()
