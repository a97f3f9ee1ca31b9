"""The Dask scheduler block against a real scheduler and worker."""

import contextlib
import datetime
import ipaddress
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from prefect_jobs import SchedulerConnectionError, create_dask_scheduler
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.local.processes import free_port
from tests.forks import Imports, Program
from tests.support import eventually


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler that has one worker with two threads."""
    with _processes() as address:
        yield address


@contextlib.contextmanager
def _processes(scheme: str = "tcp", *more: str) -> Iterator[str]:
    port = free_port()
    address = f"{scheme}://127.0.0.1:{port}"
    options = ("--host", f"{scheme}://127.0.0.1", "--no-dashboard", *more)
    commands = (
        ("scheduler", *options, "--port", str(port)),
        ("worker", address, *options, "--nworkers", "1", "--nthreads", "2", "--memory-limit", "1GiB", "--no-nanny"),
    )
    with contextlib.ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(
                Program(
                    [sys.executable, "-m", "dask", *command],
                    imports=Imports.DASK,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.terminate)
        yield address


def test_check_tells_what_is_there_and_the_client_computes(cluster: str) -> None:
    # given a block, and a cluster that is just coming up
    block = create_dask_scheduler("a_cluster", cluster, timeout=30)
    assert isinstance(block, DaskScheduler)
    # when it is checked
    eventually(lambda: "workers:   1 (2 threads" in block.check(), "there is a worker", 60)
    report = block.check()
    # then the report says what there is, the client is one and the same, and it works
    assert report.startswith(f"Dask at {cluster}: reached")
    client = block.client
    assert client is create_dask_scheduler("another", cluster, timeout=30).client
    assert client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
    block.close()
    assert client.status == "closed"
    assert block.client is not client
    block.close()


def test_an_unreachable_scheduler_is_told_within_the_timeout() -> None:
    block = create_dask_scheduler("nowhere", f"127.0.0.1:{free_port()}", timeout=1)
    with pytest.raises(SchedulerConnectionError, match=r"within 1 s.*dask scheduler"):
        block.check()


def test_connecting_in_vain_leaves_nothing_behind(tls_cluster: str) -> None:
    me = psutil.Process()
    nowhere = f"127.0.0.1:{free_port()}"
    before: list[int] = []
    for number in range(13):
        # by an OSError, and by an error of TLS
        for address in (nowhere, tls_cluster):
            with pytest.raises(SchedulerConnectionError):
                create_dask_scheduler("in_vain", address, timeout=0.2).check()
        if number == 2:
            before = [me.num_fds(), _loops()]
    eventually(lambda: me.num_fds() <= before[0] + 3 and _loops() <= before[1], f"not more than {before} are left", 10)


def _loops() -> int:
    return sum(thread.name == "IO loop" for thread in threading.enumerate())


# -- on this machine ------------------------------------------------------------------------------------------


def test_without_a_host_there_is_one_cluster_on_this_machine_until_it_is_closed() -> None:
    # given two blocks that name no host
    one, other = create_dask_scheduler("here", ""), create_dask_scheduler("here_too", "")
    assert isinstance(one, DaskScheduler) and isinstance(other, DaskScheduler)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    try:
        # when they are used
        report = one.check()
        # then a cluster was started, which both use, and which computes in processes of its own
        assert "reached" in report and "threads" in report and "workers:   0" not in report
        assert other.client is one.client
        assert one.client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
        assert {process.pid for process in psutil.Process().children(recursive=True)} - before
    finally:
        one.close()
    # then nothing is left of it, and the next use starts another
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert [process for process in left if "resource_tracker" not in " ".join(process.cmdline())] == []
    try:
        assert one.client.submit(sum, [1, 2]).result(timeout=30) == 3
    finally:
        other.close()


# -- TLS ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, and of a certificate that it has signed for this machine."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def options(self) -> tuple[str, ...]:
        """For dask's commands."""
        return (
            "--tls-ca-file", str(self.authority), "--tls-cert", str(self.certificate), "--tls-key", str(self.key),
        )  # fmt: skip


def _certificates(folder: Path) -> Certificates:
    """An authority of its own, and what it has signed."""
    folder.mkdir()
    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])

    def builder(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = builder(authority, authority_key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    leaf = builder(subject, key.public_key()).add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    made.authority.write_bytes(root.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    made.certificate.write_bytes(leaf.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of the cluster."""
    return _certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def tls_cluster(certificates: Certificates) -> Iterator[str]:
    """The address of a cluster that takes those connections only that have a certificate of its authority."""
    with _processes("tls", *certificates.options) as address:
        yield address


def _block(address: str, found: Certificates, *, contents: bool = False, timeout: float = 30) -> DaskScheduler:
    def given(path: Path) -> str:
        return path.read_text() if contents else str(path)

    return DaskScheduler(
        host=address,
        timeout=timeout,
        tls_ca_file=str(found.authority),
        tls_client_cert=given(found.certificate),  # type: ignore[arg-type]
        tls_client_key=given(found.key),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("contents", [False, True], ids=["files", "contents"])
def test_by_tls(tls_cluster: str, certificates: Certificates, contents: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    block = _block(tls_cluster, certificates, contents=contents)
    try:
        eventually(lambda: "workers:   1 " in block.check(), "there is a worker", 60)
        client = block.client
        assert client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
        said = "".join((block.check(), repr(block), str(block), repr(block.access()), repr(client), caplog.text))
    finally:
        block.close()
    _no_secret(said, block)


def test_tls_refuses_who_has_no_certificate(tls_cluster: str) -> None:
    for address in (tls_cluster, tls_cluster.replace("tls:", "tcp:")):
        block = create_dask_scheduler("no_certificate", address, timeout=2)
        with pytest.raises(SchedulerConnectionError, match=r"Cannot reach .*certificates"):
            block.check()


def test_tls_refuses_certificates_of_another_authority_and_those_that_are_none(
    tls_cluster: str, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    other = _certificates(tmp_path / "other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate\nbut-some-other-secret\n")
    line = tmp_path / "line.pem"
    line.write_text(certificates.key.read_text().replace("\n", " "))
    wrong = (
        other,
        Certificates(certificates.authority, other.certificate, other.key),
        Certificates(certificates.authority, certificates.certificate, other.key),
        Certificates(certificates.authority, text, text),
        Certificates(certificates.authority, line, line),
        Certificates(tmp_path / "missing", certificates.certificate, certificates.key),
    )
    for found in wrong:
        for contents in (False, True):
            block = _block(tls_cluster, found, contents=contents, timeout=2)
            with pytest.raises(SchedulerConnectionError, match=r"Cannot reach .*certificates") as caught:
                block.check()
            _no_secret(f"{caught.value} {caught.value.__cause__} {caplog.text}", block)


def _no_secret(said: str, block: DaskScheduler) -> None:
    access = block.access()
    for secret in (access.tls_client_cert, access.tls_client_key):
        assert secret is not None
        # Not the words that are the same in all.
        words = [word for word in secret.split() if len(word) >= 20]
        assert words and not any(word in said for word in words)
