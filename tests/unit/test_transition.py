"""The one door for changes of status: what each event does to a job, by example."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from prefect_jobs import statuses
from prefect_jobs.records import StatusState
from prefect_jobs.statuses import StatusClass
from prefect_jobs.transition import Accepted, Event, Intent, News, Refused, Source, transition, visible_change

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FINAL = ("Complete", "Error", "Aborted", "Various-Complete")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def after(*events: Event, start: StatusState | None = None) -> StatusState:
    """The state after events that come a second after each other, from noon on."""
    state = start or StatusState()
    for number, event in enumerate(events):
        state = transition(state, event, at(number))
    return state


def told(status: str | None, message: str | None = None, **more: object) -> News:
    return News(Source.SCHEDULER, status, message, **more)  # type: ignore[arg-type]


def by_hand(status: str | None, message: str | None = None) -> News:
    return News(Source.HAND, status, message)


def fetched(status: str | None, message: str | None = None) -> News:
    return News(Source.RESULTS, status, message)


SUBMITTED = after(Intent(), Accepted("cluster 17"))
RUNNING = after(told("Running"), start=SUBMITTED)
READY = after(told("Results-Ready"), start=RUNNING)


# -- submission --------------------------------------------------------------------------------------------


def test_a_job_that_is_taken_is_submitted() -> None:
    state = after(Intent(), Accepted("cluster 17"))

    assert (state.status, state.status_code, state.status_message) == ("Submitted", "SUB", "cluster 17")
    assert (state.attempt, state.execute_time, state.start_time, state.completion_time) == (1, at(1), None, None)
    assert not state.has_run


def test_a_job_that_is_refused_is_an_error_with_the_cause() -> None:
    state = after(Intent(), Refused("no such universe"))

    assert (state.status, state.status_message) == ("Error", "no such universe")
    assert state.execute_time == state.completion_time == at(1)


def test_a_new_submission_starts_from_nothing() -> None:
    before = after(told("Complete", started=at(3), ended=at(9)), start=RUNNING)

    state = transition(before, Intent(), at(99))

    assert state == StatusState(attempt=before.attempt + 1, last_status_update=at(99))
    assert state.status == "Pending"


@pytest.mark.parametrize("status", ["Running", "Complete", "Results-Ready", "Warming up", "Held"])
def test_an_answer_that_comes_after_a_poll_or_a_hand_does_not_undo_them(status: str) -> None:
    before = after(Intent(), told(status, "seen"))

    state = transition(before, Accepted("cluster 17"), at(5))

    assert (state.status, state.status_message) == (status, "seen")
    assert state.execute_time is not None
    assert transition(state, Accepted("cluster 17"), at(9)) is state


def test_a_job_that_was_stopped_while_it_was_submitted_stays_aborted_when_it_is_refused() -> None:
    before = after(Intent(), by_hand("Aborted"))

    assert transition(before, Refused("no such universe"), at(5)) is before


# -- news from the scheduler -------------------------------------------------------------------------------


def test_the_way_of_a_job_that_goes_well() -> None:
    state = after(told("Running", "on host1", started=at(100)), start=SUBMITTED)
    assert (state.status, state.start_time, state.has_run) == ("Running", at(100), True)

    state = after(told("Results-Ready", "over", ended=at(200)), start=state)
    assert (state.status, state.completion_time) == ("Results-Ready", None)

    state = transition(state, News(Source.RESULTS, "Complete", "exit code 0", ended=at(200)), at(300))
    assert (state.status, state.start_time, state.completion_time) == ("Complete", at(100), at(200))
    assert (state.status_message, state.last_status_update) == ("exit code 0", at(300))


@pytest.mark.parametrize("status", FINAL)
@pytest.mark.parametrize(
    "late", [told("Running"), told("Error", "late"), told(None, "late"), fetched("Complete", "late")]
)
def test_late_news_changes_nothing_of_a_job_that_is_over(status: str, late: News) -> None:
    before = after(told(status, "the end"), start=RUNNING)

    assert transition(before, late, at(99)) is before


@pytest.mark.parametrize("status", ["Pending", "Submitted", "Running", "Various", "Paused", "Held", "Warming up"])
def test_late_news_does_not_call_a_job_back_whose_work_is_over(status: str) -> None:
    assert transition(READY, told(status), at(99)) is READY


@pytest.mark.parametrize("status", FINAL)
def test_a_job_whose_work_is_over_goes_on_to_its_end(status: str) -> None:
    assert after(fetched(status, "the end"), start=READY).status == status


@pytest.mark.parametrize("news", [told("Running"), told("Complete"), told(None, "late"), fetched("Error")])
def test_news_of_an_earlier_submission_changes_nothing(news: News) -> None:
    again = after(Intent(), Accepted(), start=RUNNING)

    assert transition(again, replace(news, attempt=again.attempt - 1), at(99)) is again
    assert transition(again, replace(news, attempt=again.attempt), at(99)) != again


def test_the_same_news_again_changes_only_when_it_was_seen() -> None:
    again = transition(RUNNING, told("Running"), at(99))

    assert again == replace(RUNNING, last_status_update=at(99))
    assert not visible_change(RUNNING, again)


def test_a_new_reason_is_shown_though_the_status_is_the_same() -> None:
    state = transition(RUNNING, told("Running", "on host2"), at(99))

    assert (state.status, state.status_message) == ("Running", "on host2")
    assert visible_change(RUNNING, state)
    assert transition(state, told("Running", None), at(100)).status_message == "on host2"


def test_a_message_alone_leaves_the_status() -> None:
    state = transition(RUNNING, told(None, "no answer since noon"), at(99))

    assert state == replace(RUNNING, status_message="no answer since noon")
    assert transition(state, told(None, "no answer since noon"), at(100)) is state
    assert transition(state, told(None), at(100)) is state


def test_a_job_that_was_evicted_is_submitted_again_but_has_run() -> None:
    state = after(told("Submitted", "idle"), start=RUNNING)
    assert (state.status, state.has_run, state.start_time) == ("Submitted", True, RUNNING.start_time)

    unseen = transition(SUBMITTED, told("Submitted", started=at(50)), at(99))
    assert (unseen.status, unseen.has_run, unseen.start_time) == ("Submitted", True, at(50))
    assert visible_change(SUBMITTED, replace(SUBMITTED, has_run=True))


def test_only_the_infrastructures_failure_is_a_crash() -> None:
    crashed = after(told("Error", "lost", crashed=True), start=RUNNING)

    assert crashed.crashed
    assert not after(told("Error", "exit code 1"), start=RUNNING).crashed
    assert not after(by_hand("Running"), start=crashed).crashed
    assert visible_change(crashed, replace(crashed, crashed=False))


# -- times -------------------------------------------------------------------------------------------------


def test_a_job_never_ends_before_it_begins_whatever_the_schedulers_clock_says() -> None:
    state = after(told("Running", started=at(100)), told("Complete", ended=at(90)), start=SUBMITTED)

    assert state.start_time == state.completion_time == at(100)


def test_a_job_never_begins_before_it_is_submitted_whatever_the_schedulers_clock_says() -> None:
    # The schedd counts in whole seconds: begun at 12:00:00.9 is told as 12:00:00.
    state = transition(after(Intent(), Accepted()), told("Running", started=NOON), at(2))

    assert (state.execute_time, state.start_time) == (NOON, NOON)


def test_a_job_that_never_began_does_not_end_before_it_is_submitted() -> None:
    state = after(told("Aborted", ended=at(-5)), start=SUBMITTED)

    assert (state.start_time, state.completion_time) == (None, SUBMITTED.execute_time)


def test_a_job_that_was_running_only_between_two_polls_has_its_start() -> None:
    state = after(told("Complete", started=at(10), ended=at(11)), start=SUBMITTED)

    assert (state.start_time, state.completion_time, state.has_run) == (at(10), at(11), True)


def test_the_first_start_counts() -> None:
    state = after(told("Submitted"), told("Running", started=at(500)), start=RUNNING)

    assert state.start_time == RUNNING.start_time


# -- by hand -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [StatusState(), SUBMITTED, RUNNING, READY, after(told("Error"), start=RUNNING)])
@pytest.mark.parametrize("status", ["Pending", "Running", "Complete", "COM", "Paused", "any text"])
def test_a_person_may_set_anything(before: StatusState, status: str) -> None:
    state = transition(before, by_hand(status, "because"), at(99))

    assert state.status == statuses.parse(status).text
    assert state.status_message == "because"
    assert (state.completion_time is not None) == statuses.is_final(statuses.parse(status))


def test_times_follow_a_status_set_by_hand() -> None:
    running = transition(StatusState(), by_hand("Running"), at(10))
    done = transition(running, by_hand("Complete"), at(20))
    corrected = transition(done, by_hand("Error"), at(30))
    again = transition(corrected, by_hand("Running"), at(40))

    assert (running.start_time, running.completion_time) == (at(10), None)
    assert (done.start_time, done.completion_time) == (at(10), at(20))
    assert corrected.completion_time == at(20)
    assert (again.start_time, again.completion_time) == (at(10), None)


@pytest.mark.parametrize("status", ["", "   ", "x" * 256])
@pytest.mark.parametrize("source", list(Source))
def test_a_status_that_is_none_is_refused(source: Source, status: str) -> None:
    with pytest.raises(ValueError, match="status"):
        transition(RUNNING, News(source, status), NOON)


# -- custom statuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", ["Running", "RUN", " Running "])
def test_a_custom_status_set_by_hand_stays_while_polls_find_nothing_new(same: str) -> None:
    custom = transition(RUNNING, by_hand("Calibrating", "step 2"), at(10))

    state = custom
    for number in range(11, 15):
        state = transition(state, told(same, "on host1"), at(number))

    assert state == replace(custom, last_status_update=at(14))


def test_a_custom_status_set_by_hand_goes_when_the_scheduler_has_something_new() -> None:
    custom = transition(RUNNING, by_hand("Calibrating"), at(10))

    assert after(told("Paused"), start=custom).status == "Paused"
    assert after(told("Results-Ready"), start=custom).status == "Results-Ready"


def test_a_custom_status_set_while_the_job_was_submitted_stays_too() -> None:
    state = after(Intent(), by_hand("Calibrating"), Accepted(), told("Submitted"))

    assert (state.status, state.execute_time) == ("Calibrating", at(2))
    assert after(told("Running"), start=state).status == "Running"


def test_a_custom_status_that_the_scheduler_tells_brings_its_new_messages() -> None:
    state = after(told("Warming up", "1 of 3"), told("Warming up", "2 of 3"), start=RUNNING)

    assert (state.status, state.status_message) == ("Warming up", "2 of 3")


def test_a_job_held_by_the_system_goes_on_when_it_is_released() -> None:
    held = after(told("Held", "disk full"), start=RUNNING)
    assert (held.status, held.status_code, held.as_status.kind) == ("Held", "OTH", statuses.HELD_CLASS)

    assert after(told("Held", "disk full"), start=held).status == "Held"
    assert after(told("Submitted"), start=held).status == "Submitted"
    assert after(told("Running"), start=held).status == "Running"


def test_a_custom_terminal_status_is_final_also_where_it_was_never_registered() -> None:
    statuses.register_custom_status("Archived", StatusClass(terminal=True, state_type="COMPLETED"))
    state = transition(RUNNING, by_hand("Archived"), at(10))
    statuses._custom.pop("Archived")  # as in another process

    assert state.completion_time == at(10)
    assert transition(state, told("Running"), at(11)) is state


def test_the_class_of_a_custom_status_is_kept_with_the_job() -> None:
    kind = StatusClass(running=True, active=True, non_terminal=True, state_type="RUNNING")
    statuses.register_custom_status("Calibrating", kind)

    state = transition(SUBMITTED, by_hand("Calibrating"), at(10))

    assert state.as_status.kind == kind
    assert (state.has_run, state.start_time) == (True, at(10))
