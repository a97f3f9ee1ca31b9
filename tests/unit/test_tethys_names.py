"""What ``check`` and ``rewrite`` believe of ``prefect_jobs.tethys`` is so."""

from prefect_jobs import tethys
from prefect_jobs.tethys.move.names import KNOWN, MODULES


def test_they_know_the_names_that_are_there_and_no_others() -> None:
    assert set(tethys.__all__) == KNOWN
    assert set().union(*MODULES.values()) == KNOWN
