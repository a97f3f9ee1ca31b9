"""Addresses of daemons: by name, by alias, by address. Used by the helper process."""

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

#: ``<host:port?addrs=host-port+host-port&alias=name&…>``, HTCondor's form of an address.
_SINFUL = re.compile(r"<(?P<host>\[[^]]*\]|[^:>]*):(?P<port>\d+)(?:\?(?P<more>[^>]*))?>")


def schedds_at(ads: Sequence[Mapping[str, Any]], host: str, port: int | None = None) -> list[Mapping[str, Any]]:
    """The schedds that match a name, an alias or an address of their machine.

    Args:
        ads: the ads of all schedds of the pool.
        host: as the user wrote it.
        port: of the access point, if given; it selects one if several schedds match.
    """
    wanted = host.strip().strip("[]").rstrip(".").lower()
    found = [ad for ad in ads if wanted in _names(ad)]
    if not found and wanted:
        resolved = _resolved(wanted)
        found = [ad for ad in ads if _is_at(ad, resolved)]
    at_port = [ad for ad in found if port in {number for _, number in _endpoints(ad)}]
    return at_port if len(found) > 1 and at_port else found


def listens(sinful: str) -> bool:
    """Whether a daemon accepts connections at an address."""
    found = _SINFUL.match(sinful)
    if found is None:
        return False
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=3).close()
    except OSError:
        return False
    return True


def _names(ad: Mapping[str, Any]) -> set[str]:
    """The names of a schedd and its machine: with and without the domain, and the alias."""
    machine = str(ad.get("Machine") or "").lower()
    found = {str(ad.get("Name") or "").lower(), machine, machine.partition(".")[0]}
    sinful = _SINFUL.match(str(ad.get("MyAddress")))
    if sinful is not None:
        found.update(alias.lower() for alias in parse_qs(sinful["more"] or "").get("alias", []))
    return found - {""}


def _endpoints(ad: Mapping[str, Any]) -> set[tuple[str, int]]:
    """The addresses of a schedd, each with a port."""
    sinful = _SINFUL.match(str(ad.get("MyAddress")))
    if sinful is None:
        return set()
    found = {(sinful["host"].strip("[]"), int(sinful["port"]))}
    # A plus does not stand for a space here.
    for item in re.findall(r"(?:^|&)addrs=([^&]*)", sinful["more"] or ""):
        for endpoint in item.split("+"):
            address, _, number = endpoint.rpartition("-")
            if number.isdigit():
                # IPv6 addresses are written with dashes instead of colons.
                found.add((address.strip("[]").replace("-", ":"), int(number)))
    return found


def _resolved(host: str) -> set[str]:
    try:
        return {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}


def _is_at(ad: Mapping[str, Any], wanted: set[str]) -> bool:
    addresses = {address for address, _ in _endpoints(ad)}
    if addresses & wanted:
        return True
    # "localhost" is this machine, whatever address the schedd uses on it.
    return any(map(_is_loopback, wanted)) and any(map(_is_here, addresses))


def is_this_machine(host: str) -> bool:
    """Whether a name or an address is one of this machine."""
    return any(_is_here(address) for address in _resolved(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_here(address: str) -> bool:
    """Whether an address belongs to this machine: only those can be bound."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
