"""The HTCondor client on a real pool: jobs go there, are steered, and come back."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.schedulers.condor.client import Access, CondorClient, CondorError, CondorRefusal
from prefect_jobs.schedulers.condor.observation import judge, read_ad
from prefect_jobs.schedulers.connections import connections
from tests.integration.condor import HELD, SH, access_to, description_of, helpers, submit
from tests.support import eventually

HARD_WORDS = [
    "",
    "plain",
    "two words",
    " outer ",
    "it's",
    "''",
    'say "hi"',
    '"',
    "back\\slash\\",
    "Grüße 世界 \U0001f30a",
    "a\u00a0b",
    "$HOME `id` ; | > * # % =",
    "tab\there",
]


@pytest.fixture(scope="module")
def clients(condor_pool: PersonalPool) -> Iterator[Callable[[str], CondorClient]]:
    """A client for each identity, in this one process."""
    made: dict[str, CondorClient] = {}

    def of(identity: str) -> CondorClient:
        if identity not in made:
            made[identity] = CondorClient(access_to(condor_pool, identity))
        return made[identity]

    yield of
    for identity, client in made.items():
        client.act("Remove", f'Owner == "{identity}"', "the tests are over")
        client.close()


@pytest.fixture(scope="module")
def alice(clients: Callable[[str], CondorClient]) -> CondorClient:
    return clients("alice")


@pytest.fixture(scope="module")
def bob(clients: Callable[[str], CondorClient]) -> CondorClient:
    return clients("bob")


# -- there and back ----------------------------------------------------------------------------------------


def test_inputs_go_there_and_outputs_come_back(alice: CondorClient, tmp_path: Path) -> None:
    # Given: a script and two inputs, one in a folder.
    (tmp_path / "count.sh").write_text(
        "#!/bin/sh\nwc -c < one.txt > result\ncat folder/two.txt\nmkdir out; echo x > out/x\n"
    )
    (tmp_path / "one.txt").write_text("12345")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/two.txt").write_text("Grüße")

    # When: it runs at the pool, and its outputs are fetched.
    job = submit(
        alice,
        tmp_path / "job",
        {"executable": "../count.sh", "transfer_output_files": "result, out"},
        files=[str(tmp_path / name) for name in ("count.sh", "one.txt", "folder")],
    )
    (ad,) = job.wait_for(4)
    job.fetch()

    # Then: they are here, and the inputs are not here once more.
    assert job.read("result").strip() == "5"
    assert job.output() == "Grüße"
    assert job.read("out/x") == "x\n"
    assert sorted(path.name for path in job.directory.iterdir()) == ["logs", "out", "result"]
    assert read_ad(ad, queued=True).ended_well

    # And: it leaves the queue only now, and is found in the history as what it was.
    assert alice.act("Remove", job.constraint, "fetched") == 1
    (old,) = eventually(lambda: alice.history(job.constraint), "the job is in the history")
    assert job.ads() == []
    verdict = judge({0: read_ad(old, queued=False)}, 1)
    assert verdict is not None
    assert (verdict.status, verdict.outcome) == ("Results-Ready", "Complete")


def test_every_process_has_its_own_outputs(alice: CondorClient, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"in.{number}").write_text(f"input {number}")

    job = submit(
        alice,
        tmp_path / "job",
        {**SH, "arguments": ["-c", "cat in.*; echo $0 > same; echo > own.$0", "$(Process)"]}
        | {"transfer_input_files": f"{tmp_path}/in.$(Process)"},
        count=2,
    )
    job.wait_for(4)
    shared = job.fetch()

    assert [job.output(number) for number in range(2)] == ["input 0", "input 1"]
    assert shared == {"same": ["same.0", "same.1"]}
    assert [job.read(f"same.{number}").strip() for number in range(2)] == ["0", "1"]
    assert (job.directory / "own.0").exists()
    assert (job.directory / "own.1").exists()


def test_arguments_and_variables_arrive_as_they_were_given(alice: CondorClient, tmp_path: Path) -> None:
    script = r'printf "%s\0" "$@"; printf "%s\0" "$HARD0" "$HARD1" "$HARD2" "$HARD3" "$HARD4" "$HARD5"'
    values = [word for word in HARD_WORDS if word][:6]

    job = submit(
        alice,
        tmp_path / "job",
        {
            **SH,
            "arguments": ["-c", script, "sh", *HARD_WORDS],
            "environment": {f"HARD{number}": value for number, value in enumerate(values)},
        },
    )
    job.wait_for(4)
    job.fetch()

    assert job.output().split("\0") == [*HARD_WORDS, *values, ""]


def test_paths_of_any_name_arrive(alice: CondorClient, tmp_path: Path) -> None:
    # Given: everything in folders with spaces, commas, dollars and letters of all scripts in their names.
    place = tmp_path / "my $(data) ü, 1"
    for inner in ("whole/two words.txt", "contents/deeper/in, ner.txt"):
        (place / inner).parent.mkdir(parents=True)
        (place / inner).write_text(f"{inner} ")
    script = "cat; cat in.txt no\u00a0break.txt whole/* deeper/*; echo > 'out put.txt'"
    (place / "run it.sh").write_text(f"#!/bin/sh\n{script}\n")
    (place / "run it.sh").chmod(0o755)
    (place / "in.txt").write_text("in ")
    (place / "no\u00a0break.txt").write_text("nobreak ")
    (place / "std in.txt").write_text("stdin ")

    job = submit(
        alice,
        place / "the job",
        {
            "executable": place / "run it.sh",
            "input": place / "std in.txt",
            "transfer_input_files": [
                place / "in.txt",
                place / "no\u00a0break.txt",
                place / "whole",
                f"{place}/contents/",
            ],
        },
    )
    job.wait_for(4)
    job.fetch()

    assert job.output() == "stdin in nobreak whole/two words.txt contents/deeper/in, ner.txt "
    assert (job.directory / "out put.txt").exists()


def test_standard_input_may_be_at_the_machine_of_the_job(alice: CondorClient, tmp_path: Path) -> None:
    there = tmp_path / "there.txt"
    there.write_text("there")
    commands = {"executable": "/bin/cat", "transfer_executable": False, "input": str(there), "transfer_input": False}
    job = submit(alice, tmp_path / "job", commands)
    job.wait_for(4)
    job.fetch()
    assert job.output() == "there"


# -- whose jobs --------------------------------------------------------------------------------------------


def test_two_identities_in_one_process_own_their_jobs(
    alice: CondorClient, bob: CondorClient, condor_pool: PersonalPool, tmp_path: Path
) -> None:
    for _ in range(2):
        for identity, client in (("alice", alice), ("bob", bob)):
            job = submit(client, tmp_path / identity, HELD)

            (ad,) = client.query(job.constraint, ("Owner", "User"))

            domain = condor_pool.up().trust_domain
            assert (ad["Owner"], ad["User"]) == (identity, f"{identity}@{domain}")


def test_anothers_jobs_are_not_ours_to_steer(alice: CondorClient, bob: CondorClient, tmp_path: Path) -> None:
    job = submit(alice, tmp_path / "job", HELD)

    for action in ("Hold", "Release", "Remove"):
        with pytest.raises(CondorRefusal, match="another user owns them"):
            bob.act(action, job.constraint, "not mine")

    (ad,) = job.ads()
    assert (ad["JobStatus"], ad["HoldReasonCode"]) == (5, 15)


# -- steering ----------------------------------------------------------------------------------------------


def test_a_job_is_held_released_and_removed(alice: CondorClient, tmp_path: Path) -> None:
    job = submit(alice, tmp_path / "job", {**SH, "arguments": ["-c", "sleep 600"]})
    job.wait_for(2)

    assert alice.act("Hold", job.constraint, 'a pause, "it\'s said"') == 1
    (held,) = job.wait_for(5)
    assert (held["HoldReasonCode"], held["HoldReason"]) == (1, "a pause, 'it's said' (by user alice)")

    # A schedd (23.9) does not match again what is released before it has left its slot.
    eventually(lambda: alice.query(job.constraint, ("LastVacateTime",))[0].get("LastVacateTime"), "it left its slot")
    assert alice.act("Release", job.constraint, "go on") == 1
    (runs,) = job.wait_for(2)
    assert "HoldReason" not in runs
    assert "HoldReasonCode" not in runs

    assert alice.act("Remove", job.constraint, "enough:\n  C:\\temp") == 1
    (removed,) = eventually(lambda: alice.history(job.constraint), "the job is in the history")
    proc = read_ad(removed, queued=False)
    assert (proc.state, proc.reason) == ("Removed", "enough: C:/temp (by user alice)")
    assert job.ads() == []


def test_what_cannot_be_done_is_done_to_none(alice: CondorClient, tmp_path: Path) -> None:
    job = submit(alice, tmp_path / "job", HELD)

    assert alice.act("Remove", "ClusterId == 999999999", "nobody") == 0
    assert alice.act("Release", f"{job.constraint} && JobStatus == 2", "nobody") == 0


def test_the_history_tells_the_newest_first_and_no_more_than_asked_for(alice: CondorClient, tmp_path: Path) -> None:
    job = submit(alice, tmp_path / "job", HELD, count=3)
    for number in range(3):
        alice.act("Remove", f"{job.constraint} && ProcId == {number}", "over")
        expected = [*range(number, -1, -1)]
        eventually(
            lambda expected=expected: [ad["ProcId"] for ad in alice.history(job.constraint)] == expected,  # type: ignore[misc]
            "the history has them, newest first",
        )

    assert [ad["ProcId"] for ad in alice.history(job.constraint, match=2)] == [2, 1]
    assert alice.history("false") == []


# -- many --------------------------------------------------------------------------------------------------


def test_hundreds_of_processes_are_one_question(alice: CondorClient, tmp_path: Path) -> None:
    wanted = description_of(tmp_path / "job", HELD, count=500)
    done = alice.submit(wanted.text, 500, spool=False)
    constraint = f"ClusterId == {done.cluster_id}"

    ads = alice.query(constraint)

    assert done.num_procs == len(ads) == 500
    procs = {proc.proc: proc for proc in (read_ad(ad, queued=True) for ad in ads)}
    verdict = judge(procs, 500)
    assert verdict is not None
    assert verdict.status == "Paused"
    assert alice.act("Remove", constraint, "over") == 500


def test_many_threads_share_one_client(alice: CondorClient, tmp_path: Path) -> None:
    job = submit(alice, tmp_path / "job", HELD)
    before = helpers()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: alice.query(job.constraint, ("ClusterId",)), range(40)))

    assert [[ad["ClusterId"] for ad in ads] for ads in answers] == [[job.id]] * 40
    assert helpers() == before


# -- refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"universe": "nonsense"},
        {"requirements": "((("},
        {"arguments": '"unbalanced'},
        {"environment": '"A'},
        {"+Attr": "not an ( expression"},
        {"notification": "sometimes"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_description_that_htcondor_refuses_is_a_refusal_and_nothing_is_submitted(
    alice: CondorClient, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    token = token_hex()

    with pytest.raises(CondorRefusal, match=r"errmsg=."):
        submit(alice, tmp_path / "job", {**SH, **wrong}, token=token)

    mine = f'PrefectJobsToken == "{token}"'
    assert alice.query(mine) == alice.history(mine) == []


def test_a_job_whose_inputs_are_gone_leaves_nothing_in_the_queue(alice: CondorClient, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("")
    wanted = description_of(tmp_path / "job", {**SH, "transfer_input_files": str(tmp_path / "input")}, token="gone")
    (tmp_path / "input").unlink()

    with pytest.raises(CondorError):
        alice.submit(wanted.text, 1, spool=True)

    eventually(lambda: not alice.query('PrefectJobsToken == "gone"'), "the queue is empty")


def test_an_edit_that_htcondor_refuses_is_a_refusal(alice: CondorClient, tmp_path: Path) -> None:
    job = submit(alice, tmp_path / "job", HELD)
    with pytest.raises(CondorRefusal, match="Unable to edit"):
        alice.edit(job.constraint, "ClusterId", "1")
    assert alice.edit(job.constraint, "Mark", "1") == 1


# -- what is there -----------------------------------------------------------------------------------------


def test_a_check_tells_what_there_is(alice: CondorClient, condor_pool: PersonalPool) -> None:
    report = alice.check()

    info = condor_pool.up()
    assert info.version in report["version"]
    assert report["schedd"]
    assert report["slots"][0]["TotalCpus"] == 4
    assert set(report["jobs"]) == {"running", "idle", "held"}


def test_the_machines_own_htcondor_needs_no_token(
    condor_pool: PersonalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in condor_pool.env().items():
        monkeypatch.setenv(name, value)
    client = connections.condor(Access())
    try:
        assert connections.condor(Access()) is client
        job = submit(client, tmp_path / "job", HELD)

        assert [ad["Owner"] for ad in client.query(job.constraint, ("Owner",))] == [condor_pool.up().identity]
        assert client.act("Remove", job.constraint, "over") == 1
    finally:
        connections.interrupt()
