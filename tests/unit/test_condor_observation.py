"""What job ads mean: from HTCondor's numbers to a process, from processes to one status."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.observation import Proc, Verdict, count, decode, judge, read_ad

BEGAN, ENDED, CHANGED = 1_700_000_000, 1_700_000_100, 1_700_000_200

RUNNING_AD: dict[str, Any] = {"JobStatus": 2, "JobStartDate": BEGAN, "RemoteHost": "slot1@host1"}
DONE_AD: dict[str, Any] = {
    "JobStatus": 4,
    "JobStartDate": BEGAN,
    "CompletionDate": ENDED,
    "ExitBySignal": False,
    "ExitCode": 0,
    "LastRemoteHost": "slot1@host1",
}


def ad(**values: Any) -> dict[str, Any]:
    return {"ClusterId": 17, "ProcId": 0, "EnteredCurrentStatus": CHANGED, **values}


def read(queued: bool = True, **values: Any) -> Proc:
    return read_ad(ad(**values), queued=queued)


def one(proc: Proc) -> Verdict:
    """The verdict on a cluster of one process."""
    verdict = judge({0: proc}, 1)
    assert verdict is not None
    return verdict


def several(*procs: Proc, total: int | None = None) -> Verdict | None:
    known = {number: Proc(**{**proc.encode(), "proc": number}) for number, proc in enumerate(procs)}
    return judge(known, len(procs) if total is None else total)


def time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# -- one process: ad → state, status, outcome, message -----------------------------------------------------


@pytest.mark.parametrize(
    ("values", "state", "status", "outcome", "message"),
    [
        ({"JobStatus": 0}, "Unexpanded", "Submitted", None, "Inputs are being sent."),
        ({"JobStatus": 1}, "Idle", "Submitted", None, "Idle in the queue."),
        (RUNNING_AD, "Running", "Running", None, "Executing on slot1@host1"),
        ({"JobStatus": 2}, "Running", "Running", None, ""),
        ({**RUNNING_AD, "JobStatus": 6}, "Running", "Running", None, "Executing on slot1@host1"),
        ({**RUNNING_AD, "JobStatus": 7}, "Running", "Running", None, "Executing on slot1@host1"),
        ({"JobStatus": 3, "LastJobStatus": 1}, "Removed", "Aborted", None, "Removed."),
        (
            {"JobStatus": 3, "LastJobStatus": 2, "RemoveReason": "via condor_rm (by user alice)"},
            "Removed",
            "Aborted",
            None,
            "Removed: via condor_rm (by user alice).",
        ),
        (DONE_AD, "Completed", "Results-Ready", "Complete", "Exit code 0 on slot1@host1."),
        ({**DONE_AD, "ExitCode": 1}, "Completed", "Results-Ready", "Error", "Exit code 1 on slot1@host1."),
        (
            {**DONE_AD, "ExitCode": 3, "JobSuccessExitCode": 3},
            "Completed",
            "Results-Ready",
            "Complete",
            "Exit code 3 on slot1@host1.",
        ),
        (
            {**DONE_AD, "ExitCode": 0, "JobSuccessExitCode": 3},
            "Completed",
            "Results-Ready",
            "Error",
            "Exit code 0 on slot1@host1.",
        ),
        (
            {**DONE_AD, "ExitBySignal": True, "ExitSignal": 9, "ExitCode": 0},
            "Completed",
            "Results-Ready",
            "Error",
            "Killed by signal 9 on slot1@host1.",
        ),
        ({"JobStatus": 4}, "Completed", "Results-Ready", "Error", "Ended without an exit code."),
        ({"JobStatus": 42}, "Unexpanded", "Submitted", None, "Inputs are being sent."),
        ({}, "Unexpanded", "Submitted", None, "Inputs are being sent."),
    ],
)
def test_every_state_of_htcondor_has_a_meaning(
    values: dict[str, Any], state: str, status: str, outcome: str | None, message: str
) -> None:
    proc = read(**values)

    verdict = one(proc)

    assert proc.state == state
    assert (verdict.status, verdict.outcome, verdict.message) == (status, outcome, message)
    assert (verdict.ended is not None) == proc.final


@pytest.mark.parametrize(
    ("code", "reason", "state", "status", "said"),
    [
        (1, "via condor_hold (by user alice)", "Held", "Paused", "via condor_hold (by user alice)"),
        (15, "submitted on hold at user's request", "Held", "Paused", "submitted on hold at user's request"),
        (16, "Spooling input data files", "Unexpanded", "Submitted", "Inputs are being sent."),
        (1, None, "Held", "Paused", "Held by a user."),
        (34, "memory usage exceeded request_memory", "Held", "Held", "set_attribute('request_memory'"),
        (13, "Transfer input files failure", "Held", "Held", "every input file still exists"),
        (12, "Transfer output files failure", "Held", "Held", "transfer_output_files"),
        (6, "Failed to execute", "Held", "Held", "the executable starts"),
        (26, "SYSTEM_PERIODIC_HOLD", "Held", "Held", "administrator"),
        (47, "allowed_execute_duration exceeded", "Held", "Held", "raise that"),
        (99, "something new", "Held", "Held", "resume(); or stop()"),
        (None, "no code", "Held", "Held", "resume(); or stop()"),
    ],
)
def test_a_hold_says_who_holds_it_why_and_what_to_do(
    code: int | None, reason: str | None, state: str, status: str, said: str
) -> None:
    values: dict[str, Any] = {"HoldReasonCode": code, "HoldReason": reason, "JobStatus": 5}
    proc = read(**{name: value for name, value in values.items() if value is not None})

    verdict = one(proc)

    assert (proc.state, verdict.status, verdict.outcome) == (state, status, None)
    assert said in verdict.message
    if status == "Held":
        assert verdict.message.startswith(f"Held by HTCondor (code {code}): {reason}. ")


def test_what_was_the_reason_of_an_earlier_hold_is_not_one_now() -> None:
    proc = read(**RUNNING_AD, HoldReasonCode=34, HoldReason="memory", RemoveReason="x")

    assert (proc.hold_code, proc.reason) == (None, None)


def test_an_exit_code_of_an_earlier_start_is_not_one_now() -> None:
    proc = read(**RUNNING_AD, ExitCode=0, ExitBySignal=False, CompletionDate=0)

    assert (proc.exit_code, proc.exit_signal, proc.ended) == (None, None, None)


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize(("code", "outcome"), [(0, "Complete"), (7, "Error")])
def test_a_job_whose_outputs_were_fetched_and_that_was_then_removed_has_completed(
    queued: bool, code: int, outcome: str
) -> None:
    values = {**DONE_AD, "JobStatus": 3, "LastJobStatus": 4, "ExitCode": code, "RemoveReason": "outputs fetched"}

    proc = read(queued, **values)

    assert (proc.state, proc.exit_code, proc.reason, proc.queued) == ("Completed", code, None, queued)
    assert one(proc).outcome == outcome


@pytest.mark.parametrize("last", [1, 2, 5, 6, 7])
def test_a_job_that_was_removed_before_it_ended_is_aborted(last: int) -> None:
    assert one(read(queued=False, JobStatus=3, LastJobStatus=last, ExitCode=0)).status == "Aborted"


def test_times_are_those_of_the_schedd() -> None:
    verdict = one(read(**DONE_AD))

    assert (verdict.started, verdict.ended) == (time(BEGAN), time(ENDED))


def test_a_removed_job_ended_when_it_was_removed() -> None:
    verdict = one(read(JobStatus=3, LastJobStatus=1))

    assert (verdict.started, verdict.ended) == (None, time(CHANGED))


def test_where_it_ran_is_told() -> None:
    assert read(**RUNNING_AD).host == "slot1@host1"
    assert read(**DONE_AD).host == "slot1@host1"
    assert read(JobStatus=1, RemoteHost="", LastRemoteHost=7).host is None


@pytest.mark.parametrize("value", [None, "0", True, [0]])
def test_an_attribute_of_a_strange_type_is_none_at_all(value: Any) -> None:
    proc = read(**{**DONE_AD, "ExitCode": value, "JobStartDate": value})

    assert (proc.exit_code, proc.started) == (None, None)
    assert one(proc).outcome == "Error"


# -- several processes -------------------------------------------------------------------------------------

IDLE = read(JobStatus=1)
SENDING = read(JobStatus=5, HoldReasonCode=16)
RUNS = read(**RUNNING_AD)
HELD = read(JobStatus=5, HoldReasonCode=34, HoldReason="memory")
PAUSED = read(JobStatus=5, HoldReasonCode=1, HoldReason="by alice")
DONE = read(**DONE_AD)
FAILED = read(**{**DONE_AD, "ExitCode": 1})
KILLED = read(**{**DONE_AD, "ExitBySignal": True, "ExitSignal": 9})
REMOVED = read(JobStatus=3, LastJobStatus=2)


@pytest.mark.parametrize(
    ("procs", "status", "outcome"),
    [
        # all alike
        ([IDLE, IDLE], "Submitted", None),
        ([IDLE, SENDING], "Submitted", None),
        ([RUNS, RUNS], "Running", None),
        ([HELD, HELD], "Held", None),
        ([PAUSED, PAUSED], "Paused", None),
        ([DONE, DONE], "Results-Ready", "Complete"),
        ([FAILED, FAILED], "Results-Ready", "Error"),
        ([FAILED, KILLED], "Results-Ready", "Error"),
        ([REMOVED, REMOVED], "Aborted", None),
        # some still active
        ([IDLE, RUNS], "Various", None),
        ([RUNS, DONE], "Various", None),
        ([IDLE, DONE, FAILED], "Various", None),
        # nothing runs, and nothing will without a hand
        ([HELD, DONE], "Held", None),
        ([PAUSED, REMOVED], "Paused", None),
        ([PAUSED, HELD, DONE], "Held", None),
        ([HELD, RUNS], "Various", None),
        ([REMOVED, RUNS], "Various", None),
        # all ended, but not alike
        ([DONE, FAILED], "Results-Ready", "Various-Complete"),
        ([DONE, REMOVED], "Results-Ready", "Various-Complete"),
        ([FAILED, REMOVED], "Results-Ready", "Various-Complete"),
        ([DONE, FAILED, KILLED, REMOVED], "Results-Ready", "Various-Complete"),
    ],
)
def test_several_processes_amount_to_one_status(procs: list[Proc], status: str, outcome: str | None) -> None:
    for order in (procs, procs[::-1]):
        verdict = several(*order)
        assert verdict is not None
        assert (verdict.status, verdict.outcome) == (status, outcome)
        assert (verdict.ended is not None) == all(proc.final for proc in procs)


@pytest.mark.parametrize("procs", [[], [DONE], [RUNS], [DONE, REMOVED]])
def test_as_long_as_nothing_is_known_of_some_there_is_no_news(procs: list[Proc]) -> None:
    assert several(*procs, total=3) is None


def test_nothing_is_known_of_no_processes() -> None:
    assert judge({}, 0) is None


def test_a_cluster_began_with_its_first_and_ended_with_its_last_process() -> None:
    late = read(**{**DONE_AD, "JobStartDate": BEGAN + 50, "CompletionDate": ENDED + 50})

    verdict = several(late, DONE, read(JobStatus=3, EnteredCurrentStatus=BEGAN + 1))

    assert verdict is not None
    assert (verdict.started, verdict.ended) == (time(BEGAN), time(ENDED + 50))


def test_the_message_of_a_mixed_cluster_counts_and_names_what_is_held() -> None:
    verdict = several(DONE, HELD, RUNS, RUNS)

    assert verdict is not None
    assert verdict.message.startswith("1 completed, 1 held, 2 running. Process 1: Held by HTCondor (code 34): memory.")


def test_the_message_of_an_ended_cluster_says_how_each_ended() -> None:
    verdict = several(DONE, FAILED, DONE, KILLED, REMOVED)

    assert verdict is not None
    assert verdict.message == (
        "processes 0, 2: exit code 0 on slot1@host1; process 1: exit code 1 on slot1@host1; "
        "process 3: killed by signal 9 on slot1@host1; process 4: removed."
    )


def test_the_message_of_a_large_cluster_is_not_a_page() -> None:
    verdicts = [several(*[proc] * 5000, last) for proc, last in ((DONE, FAILED), (RUNS, RUNS), (HELD, DONE))]
    codes = [read(**{**DONE_AD, "ExitCode": number % 256}) for number in range(5000)]

    for verdict in [*verdicts, several(*codes)]:
        assert verdict is not None
        assert len(verdict.message) < 1000


def test_hosts_are_named_once_and_a_few_of_them() -> None:
    procs = [read(**{**RUNNING_AD, "RemoteHost": f"host{number % 5}"}) for number in range(10)]

    verdict = several(*procs)

    assert verdict is not None
    assert verdict.message == "Executing on host0, host1, host2 …"


def test_processes_are_counted_by_htcondors_states() -> None:
    procs = dict(enumerate([IDLE, SENDING, RUNS, RUNS, HELD, PAUSED, DONE, FAILED, REMOVED]))

    assert count(procs) == {
        "Unexpanded": 1,
        "Idle": 1,
        "Running": 2,
        "Removed": 1,
        "Completed": 2,
        "Held": 2,
        "Submission_err": 0,
    }


# -- whatever HTCondor says --------------------------------------------------------------------------------

values = st.none() | st.booleans() | st.integers(-5, 60) | st.integers(BEGAN, CHANGED) | st.floats(0, 1e9) | st.text()
ads = st.fixed_dictionaries(
    {"JobStatus": st.integers(0, 9)},
    optional={name: values for name in observation.PROJECTION if name != "JobStatus"},
)


@given(ads, st.booleans())
def test_every_ad_is_read_and_survives_being_stored(found: dict[str, Any], queued: bool) -> None:
    proc = read_ad(found, queued=queued)

    assert decode([proc.encode()]) == {proc.proc: proc}
    assert one(proc).status


@given(st.lists(st.sampled_from([IDLE, SENDING, RUNS, HELD, PAUSED, DONE, FAILED, KILLED, REMOVED]), min_size=1))
def test_a_cluster_is_over_exactly_when_all_its_processes_are(procs: list[Proc]) -> None:
    verdict = several(*procs)

    assert verdict is not None
    over = verdict.status in ("Results-Ready", "Aborted")
    assert over == all(proc.final for proc in procs)
    assert (verdict.outcome is not None) == (verdict.status == "Results-Ready")
    if verdict.outcome == "Complete":
        assert all(proc.ended_well for proc in procs)
