"""Which schedd is meant by a name, an alias or an address."""

import socket
from typing import Any

import pytest

from prefect_jobs.schedulers.condor import addresses
from prefect_jobs.schedulers.condor.addresses import schedds_at

#: Of documentation, nobody's own.
FIRST = "192.0.2.10"
SECOND = "192.0.2.20"


def ad(name: str, machine: str, address: str) -> dict[str, Any]:
    return {"Name": name, "Machine": machine, "MyAddress": address}


ONE = ad("one@ap.example.org", "ap.example.org", f"<{FIRST}:9618?addrs={FIRST}-9618+[2001-db8--5]-9618&alias=ap-alias>")
OTHER = ad("ap2.example.org", "ap2.example.org", f"<{SECOND}:9618?addrs={SECOND}-9618&alias=ap2.example.org&sock=x>")
BESIDE = ad("beside@ap.example.org", "ap.example.org", f"<{FIRST}:9700?addrs={FIRST}-9700>")


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"submit.example.org": FIRST, "localhost": "127.0.0.1"}

    def look_up(host: str, port: Any) -> list[Any]:
        address = known.get(host, host)
        if not address[0].isdigit() and ":" not in address:
            raise socket.gaierror("no such name")
        return [(None, None, None, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "host",
    ["one@ap.example.org", "ap.example.org", "AP.Example.org.", "ap", "ap-alias", FIRST, "submit.example.org",
     "2001:db8::5", "[2001:db8::5]"],
)  # fmt: skip
def test_a_schedd_is_found_by_all_that_it_is_called(host: str) -> None:
    assert schedds_at([OTHER, ONE], host) == [ONE]


@pytest.mark.parametrize("host", ["nowhere.example.org", "192.0.2.1", "127.0.0.1", "example.org", ""])
def test_another_place_is_no_schedds(host: str) -> None:
    assert schedds_at([OTHER, ONE], host) == []


def test_where_two_are_at_one_address_the_port_decides() -> None:
    assert schedds_at([ONE, BESIDE, OTHER], FIRST) == [ONE, BESIDE]
    assert schedds_at([ONE, BESIDE, OTHER], FIRST, 9700) == [BESIDE]
    assert schedds_at([ONE, BESIDE, OTHER], FIRST, 1) == [ONE, BESIDE]


def test_localhost_is_this_machine_by_whatever_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_is_here", lambda address: address == SECOND)
    assert schedds_at([OTHER, ONE], "localhost") == schedds_at([OTHER, ONE], "127.0.0.1") == [OTHER]


def test_an_ad_without_an_address_is_found_by_its_name_alone() -> None:
    bare = {"Name": "x", "Machine": None}
    assert schedds_at([bare], "x") == [bare] and schedds_at([bare], FIRST) == []
