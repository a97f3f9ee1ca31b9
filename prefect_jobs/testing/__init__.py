"""Jobs whose end a test decides, for the tests of apps: no scheduler, no Prefect, nothing left behind."""

from prefect_jobs.testing.runtime import fake_schedulers
from prefect_jobs.testing.schedulers import FakeSchedulers

__all__ = ["FakeSchedulers", "fake_schedulers"]
