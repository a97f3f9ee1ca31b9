"""One owner of the connections of a process."""

import os

import pytest

from prefect_jobs.schedulers.condor.access import Access
from prefect_jobs.schedulers.connections import Connections, client_for, connections, dask_client
from prefect_jobs.schedulers.dask.connection import DaskAccess


def test_an_identity_has_one_client() -> None:
    ours = Connections()
    alice, bob = Access("there", token="a"), Access("there", token="b")
    assert ours.condor(alice) is ours.condor(Access("there", token="a"))
    assert ours.condor(alice) is not ours.condor(bob)
    assert ours.dask(DaskAccess("there")) is ours.dask(DaskAccess("there"))
    assert ours.dask(DaskAccess("there")) is not ours.dask(DaskAccess("elsewhere"))


def test_the_machines_own_htcondor_is_another_one_with_another_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Connections()
    before = ours.condor(Access())
    monkeypatch.setenv("CONDOR_CONFIG", "/another/condor_config")
    assert ours.condor(Access()) is not before
    # by token, that configuration does not count
    assert ours.condor(Access("there", token="a")) is ours.condor(Access("there", token="a"))


def test_after_closing_the_next_use_begins_anew() -> None:
    ours = Connections()
    before = ours.condor(Access("there", token="a"))
    ours.close()
    ours.close()
    assert ours.condor(Access("there", token="a")) is not before


# From 3.12 on, Python warns of a fork where there are threads, as the test runner has them.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own() -> None:
    known = client_for(Access("there", token="a")), dask_client(DaskAccess("there"))
    child = os.fork()
    if child == 0:
        mine = client_for(Access("there", token="a")), dask_client(DaskAccess("there"))
        os._exit(int(mine[0] is known[0] or mine[1] is known[1]))
    assert os.waitpid(child, 0)[1] == 0
    assert client_for(Access("there", token="a")) is known[0]
    assert connections.dask(DaskAccess("there")) is known[1]
    connections.interrupt()
