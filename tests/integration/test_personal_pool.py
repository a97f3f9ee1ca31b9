"""A real personal HTCondor pool: what it promises to whoever starts it, uses it, and stops it."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.processes import ProcessRecord, is_running, write_record
from tests.integration.pool_tools import CLIENT, DAG_CLIENT, answer, client, master_of, processes_of, tool, wait_until


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that the daemons' user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def pool(place: Path) -> Iterator[PersonalPool]:
    pool = PersonalPool(place / "main", "main")
    try:
        pool.up(cpus=2, memory_mb=1024)
    except LocalPartError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no personal HTCondor pool here: {error}")
    yield pool
    pool.down(remove=True)


@pytest.fixture
def second(place: Path, pool: PersonalPool) -> Iterator[PersonalPool]:
    """A pool that is up beside the first, in a folder with a path too long for a Unix socket, and a blank."""
    second = PersonalPool(place / ("a long name" * 10), "second")
    second.up(cpus=2)
    yield second
    second.down(remove=True)


def test_a_pool_that_is_up_answers_with_its_slot_and_daemons(pool: PersonalPool) -> None:
    # when
    status = pool.status()
    # then
    assert status.up
    assert status.answering
    assert status.slots >= 1
    assert {"condor_schedd", "condor_collector", "condor_startd"} <= set(status.daemons)
    assert status.info is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", status.info.version)


def test_up_on_a_pool_that_is_up_changes_nothing(pool: PersonalPool) -> None:
    # given
    before, master = pool.status().info, master_of(pool)
    # when
    again = PersonalPool(pool.layout.directory, "main").up()
    # then
    assert again == before
    assert master_of(pool) == master


def test_up_on_a_pool_that_is_up_says_with_what_it_runs_and_how_to_change_it(pool: PersonalPool) -> None:
    # given
    said: list[str] = []
    one = tool(pool, "condor_status", "-af", "TotalSlotCpus", "TotalSlotMemory").stdout.splitlines()[0].split()
    # when
    pool.up(cpus=int(one[0]), report=said.append)
    pool.up(cpus=77, memory_mb=12345, report=said.append)
    # then
    runs = f"The pool 'main' is already up, with {one[0]} CPUs and {one[1]} MB of memory"
    assert said[0] == f"{runs}."
    assert said[1].startswith(runs) and "stays unchanged" in said[1]
    assert (
        "prefect-jobs condor down --name main, then prefect-jobs condor up --name main --cpus 77 --memory 12345"
        in said[1]
    )


def test_everything_listens_on_loopback_alone_behind_one_port(pool: PersonalPool) -> None:
    # given
    info = pool.up()
    family = psutil.Process(master_of(pool).pid).children(recursive=True)
    # when
    listening = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # some of them are there for a moment only
            found = process.net_connections("tcp")
            listening += [one.laddr for one in found if one.status == psutil.CONN_LISTEN]
    # then
    assert (info.host, info.port) in [(address.ip, address.port) for address in listening]
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_jobs_of_two_identities_run_and_are_listed_with_their_owners(pool: PersonalPool) -> None:
    # when
    clients = {name: client(pool, name, CLIENT, "-c true", "4") for name in ("alice", "bob")}
    answers = {name: answer(process).splitlines() for name, process in clients.items()}
    # then
    for name, (_, ad) in answers.items():
        assert json.loads(ad) == {"Owner": name, "User": f"{name}@main.pool.localhost", "ExitCode": 0}
    listed = tool(pool, "condor_q", "-allusers", "-af", "ClusterId", "Owner").stdout.splitlines()
    assert {f"{cluster} {name}" for name, (cluster, _) in answers.items()} <= set(listed)


def test_the_tools_work_in_the_exported_environment(pool: PersonalPool, place: Path) -> None:
    # given
    description = place / "job.sub"
    description.write_text(
        "executable = /bin/true\ntransfer_executable = false\nrequest_memory = 16\nrequirements = false\nqueue\n"
    )
    identity = pool.up().identity
    # when
    submitted = tool(pool, "condor_submit", "-terse", str(description))
    # then
    assert submitted.returncode == 0, submitted.stderr
    cluster = submitted.stdout.split(".")[0]
    assert tool(pool, "condor_q", cluster, "-af", "Owner").stdout.split() == [identity]
    # and the plain command shows it, whoever asks
    for who in (None, "alice"):
        assert cluster in tool(pool, "condor_q", "-af", "ClusterId", identity=who).stdout.split()
    assert pool.status().jobs["idle"] >= 1
    assert tool(pool, "condor_rm", cluster).returncode == 0


def test_an_owner_may_not_touch_the_job_of_another(pool: PersonalPool) -> None:
    # given a job of alice
    cluster = answer(client(pool, "alice", CLIENT, "-c true", "4")).splitlines()[0]
    # when bob removes it
    removal = tool(pool, "condor_rm", cluster, identity="bob")
    # then
    assert removal.returncode != 0
    assert tool(pool, "condor_q", cluster, "-allusers", "-af", "Owner").stdout.split() == ["alice"]


def test_a_dag_submitted_remotely_runs_its_nodes_as_its_owner(pool: PersonalPool, place: Path) -> None:
    # given
    folder = place / "dag"
    folder.mkdir()
    # when
    said = answer(client(pool, "carol", DAG_CLIENT, str(folder)))
    # then
    assert said.strip() == '"carol"'


def test_the_signing_key_is_kept_from_clients(pool: PersonalPool) -> None:
    # when a client tries to make a token by itself
    forged = tool(pool, "condor_token_create", "-identity", "alice@main.pool.localhost")
    # then
    assert forged.returncode != 0
    assert forged.stdout == ""
    assert str(pool.layout.key_directory) not in pool.layout.client_config.read_text()
    assert pool.layout.key.stat().st_mode & 0o077 == 0


def test_a_client_has_no_rights_of_a_daemon(pool: PersonalPool) -> None:
    # when
    refused = tool(pool, "condor_off", "-all", "-fast")
    # then
    assert refused.returncode != 0
    assert pool.status().answering


@pytest.mark.parametrize("identity", ["root", "condor", "a b", "../x", ""])
def test_an_identity_that_cannot_own_jobs_gets_no_token(pool: PersonalPool, identity: str) -> None:
    with pytest.raises(LocalPartError, match="cannot own jobs"):
        pool.token(identity)


def test_two_pools_are_up_side_by_side_and_refuse_each_others_tokens(pool: PersonalPool, second: PersonalPool) -> None:
    # given
    foreign = os.environ | second.env() | {"_CONDOR_SEC_TOKEN_DIRECTORY": str(pool.export_token("alice"))}
    # when
    refused = subprocess.run(["condor_q"], env=foreign, capture_output=True, text=True, timeout=30)
    # then
    assert refused.returncode != 0
    assert pool.up().port != second.up().port
    assert pool.status().answering
    assert second.status().answering


def test_down_leaves_no_process_and_the_queue_is_there_at_the_next_up(second: PersonalPool) -> None:
    # given a job that is running, with a process that has left its session
    info = second.up()
    script = "-c (setsid${IFS}sleep${IFS}1000&);sleep${IFS}1000"
    cluster = answer(client(second, "alice", CLIENT, script, "2")).splitlines()[0]
    wait_until(lambda: "sleep 1000" in processes_of(info), "the job's processes have started")
    # when
    stopped = second.down()
    # then
    assert stopped
    assert processes_of(info) == set()
    assert not second.status().up
    assert not second.down()
    # when
    again = second.up()
    # then
    assert again.port == info.port
    assert tool(second, "condor_q", "-allusers", "-af", "ClusterId").stdout.split() == [cluster]


def test_a_pool_whose_master_died_is_down_and_comes_up_again(second: PersonalPool) -> None:
    # given
    info, master = second.up(), master_of(second)
    # when
    psutil.Process(master.pid).kill()
    wait_until(lambda: not is_running(master), "the master is gone")
    # then
    assert not second.status().up
    with pytest.raises(LocalPartError, match="not up"):
        second.env()
    # when
    second.up()
    # then no daemon of the first time is left beside those of the second
    assert second.status().answering
    masters = [line for line in processes_of(info) if "condor_master" in line]
    assert len(masters) == 1


def test_a_recycled_pid_is_neither_taken_for_the_pool_nor_killed(place: Path) -> None:
    # given a pid file that names a process which has begun at another time
    pool = PersonalPool(place / "stale", "stale")
    pool.layout.directory.mkdir()
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        pool.layout.record.write_text("{}")
        write_record(pool.layout.pid, ProcessRecord(innocent.pid, psutil.Process(innocent.pid).create_time() - 3600))
        # when
        status, stopped = pool.status(), pool.down()
        # then
        assert not status.up
        assert not stopped
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_port_that_is_taken_is_refused_by_name(place: Path, pool: PersonalPool) -> None:
    # given
    third = PersonalPool(place / "third", "third")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        # when
        with pytest.raises(LocalPartError) as failure:
            third.up(port=port)
    # then
    assert f"Port {port} is taken" in str(failure.value)
    assert not third.status().up


def test_a_pool_that_does_not_come_up_tells_its_log_and_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an HTCondor whose master ends at once
    release = place / "broken"
    for name, script in {
        "sbin/condor_master": "echo this master is broken",
        "bin/condor_version": "echo '$CondorVersion: 24.1.2 2024-10-31 $'",
        "bin/condor_q": "exit 1",
        "bin/condor_token_create": "echo a.secret.token",
        "libexec/condor_shared_port": "exit 1",
    }.items():
        program = release / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    for folder in (release, *release.iterdir()):
        folder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{release / 'sbin'}:{os.environ['PATH']}")
    pool = PersonalPool(place / "unlucky", "unlucky")
    # when
    with pytest.raises(LocalPartError) as failure:
        pool.up()
    # then
    assert "this master is broken" in str(failure.value)
    assert "a.secret.token" not in str(failure.value)
    assert not pool.status().up
    assert not pool.layout.pid.exists()


def test_a_folder_with_something_else_in_it_is_neither_used_nor_removed(place: Path) -> None:
    # given
    folder = place / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("…")
    pool = PersonalPool(folder, "precious")
    # when
    with pytest.raises(LocalPartError, match="not empty"):
        pool.up()
    pool.down(remove=True)
    # then
    assert (folder / "thesis.txt").exists()


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "-x"])
def test_a_name_that_is_no_folders_or_domains_is_refused(name: str) -> None:
    with pytest.raises(LocalPartError, match="cannot name a personal pool"):
        PersonalPool(name=name)


def test_remove_takes_the_folder_away(place: Path, pool: PersonalPool) -> None:
    # given
    gone = PersonalPool(place / "gone", "gone")
    sockets = gone.up(cpus=1).sockets
    # when
    gone.down(remove=True)
    # then
    assert not gone.layout.directory.exists()
    assert not sockets.exists()
    assert gone.status().info is None
    assert shutil.which("condor_master", path=str(gone.layout.bin)) is None
