"""The one door for changes of status: what holds whatever happens, in whatever order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefect_jobs import statuses
from prefect_jobs.records import StatusState
from prefect_jobs.statuses import StatusClass
from prefect_jobs.transition import Accepted, Event, Intent, News, Refused, Source, transition, visible_change

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OFFICIAL = [*statuses.BY_NAME, *statuses.BY_CODE]

names = st.sampled_from([*OFFICIAL, "Held", "Other", "Calibrating", "Archived", "unclassified"])
messages = st.none() | st.sampled_from(["", "because", "on host1"])
# The scheduler's clock may be wrong by a minute.
times = st.none() | st.integers(-60, 600).map(lambda seconds: NOON + timedelta(seconds=seconds))


def news(*sources: Source) -> st.SearchStrategy[News]:
    return st.builds(
        News,
        source=st.sampled_from(sources),
        status=st.none() | names,
        message=messages,
        attempt=st.none(),
        started=times,
        ended=times,
        crashed=st.booleans(),
    )


observed = news(Source.SCHEDULER, Source.RESULTS)
#: Clocks of hosts disagree, and a program's may be set back.
ticks = st.integers(-30, 90).map(lambda seconds: timedelta(seconds=seconds))


def register() -> None:
    statuses.register_custom_status("Calibrating", StatusClass(True, False, True, False, True, "RUNNING"))
    statuses.register_custom_status("Archived", StatusClass(terminal=True, state_type="COMPLETED"))


def final(state: StatusState) -> bool:
    return statuses.is_final(state.as_status)


def seen_again(old: StatusState, new: StatusState) -> bool:
    """Nothing but the time of the look changed."""
    return replace(new, last_status_update=old.last_status_update) == old


class Job(RuleBasedStateMachine):
    """A job to which anything happens: people, polls, late answers, new submissions."""

    def __init__(self) -> None:
        super().__init__()
        register()
        self.state = StatusState()
        self.before = self.state
        self.now = NOON
        self.event: Event | None = None

    def happens(self, event: Event, after: timedelta = timedelta(seconds=1)) -> None:
        self.now += after
        self.event = event
        self.before, self.state = self.state, transition(self.state, event, self.now)

    @initialize(event=st.sampled_from([Intent(), News(Source.HAND, "Running")]))
    def begin(self, event: Event) -> None:
        self.happens(event)

    @rule(after=ticks)
    def submit(self, after: timedelta) -> None:
        self.happens(Intent(), after)
        # Nothing of the earlier submission is left.
        assert self.state == StatusState(attempt=self.before.attempt + 1, last_status_update=self.now)

    @rule(event=st.sampled_from([Accepted("taken"), Refused("refused")]), after=ticks)
    def answer(self, event: Event, after: timedelta) -> None:
        self.happens(event, after)
        assert transition(self.state, event, self.now) == self.state
        if isinstance(event, Accepted) and self.before.status != "Pending":
            # Who was faster stays right.
            assert self.state.as_status == self.before.as_status
        elif not final(self.before):
            assert self.state.status == ("Submitted" if isinstance(event, Accepted) else "Error")
            assert self.state.execute_time is not None

    @rule(event=observed, after=ticks, told=st.booleans())
    def observe(self, event: News, after: timedelta, told: bool) -> None:
        self.happens(replace(event, attempt=self.state.attempt if told else None), after)

    @rule(event=news(*Source), off=st.sampled_from([-3, -2, -1, 1, 2]))
    def hear_of_another_submission(self, event: News, off: int) -> None:
        self.happens(replace(event, attempt=self.state.attempt + off))
        assert self.state is self.before

    @rule(event=news(Source.HAND), after=ticks, told=st.booleans())
    def by_hand(self, event: News, after: timedelta, told: bool) -> None:
        self.happens(replace(event, attempt=self.state.attempt if told else None), after)
        if event.status is not None:
            assert self.state.status == statuses.parse(event.status).text
            assert self.state.observed_status == self.before.observed_status

    @precondition(lambda self: isinstance(self.event, News))
    @rule(seconds=st.integers(1, 100))
    def hear_it_again(self, seconds: int) -> None:
        assert isinstance(self.event, News)
        known = replace(self.event, attempt=self.state.attempt)
        told = transition(self.state, known, self.now)
        self.now += timedelta(seconds=seconds)
        assert seen_again(told, transition(told, known, self.now))
        self.before = self.state = told

    @precondition(lambda self: self.state.observed_status is not None and not final(self.state))
    @rule(polls=st.integers(1, 4), text=st.sampled_from(["Calibrating", "unclassified"]))
    def set_custom_status(self, polls: int, text: str) -> None:
        same = News(Source.SCHEDULER, self.state.observed_status, "as before")
        self.happens(News(Source.HAND, text, "mine"))
        custom = self.state
        if self.before.observed_status != text:
            for _ in range(polls):
                self.happens(same)
                assert seen_again(custom, self.state)
        self.before = self.state

    @invariant()
    def only_a_hand_or_a_new_submission_leaves_the_end(self) -> None:
        by_hand = isinstance(self.event, News) and self.event.source is Source.HAND
        if final(self.before) and not by_hand and not isinstance(self.event, Intent):
            assert self.state is self.before or replace(self.state, execute_time=None) == replace(
                self.before, execute_time=None, observed_status=self.state.observed_status
            )

    @invariant()
    def no_news_calls_back_what_is_over(self) -> None:
        told = isinstance(self.event, News) and self.event.source is not Source.HAND
        if told and self.before.status == "Results-Ready":
            assert self.state.as_status.kind.terminal

    @invariant()
    def a_message_alone_moves_nothing(self) -> None:
        if isinstance(self.event, News) and self.event.status is None:
            assert replace(self.state, status_message=self.before.status_message) == self.before

    @invariant()
    def it_was_looked_at_now_or_when_it_was_before(self) -> None:
        moved = self.state.last_status_update != self.before.last_status_update
        assert not moved or self.state.last_status_update == self.now
        if self.state.as_status != self.before.as_status:
            assert self.state.last_status_update == self.now

    @invariant()
    def what_the_scheduler_says_hides_a_custom_status_only_if_it_is_new(self) -> None:
        by_scheduler = isinstance(self.event, News) and self.event.source is Source.SCHEDULER
        custom = self.before.as_status.custom and self.before.status != "Held"
        if by_scheduler and custom and self.state.as_status != self.before.as_status:
            assert self.state.observed_status not in (None, self.before.observed_status)

    @invariant()
    def times_are_aware_and_in_order(self) -> None:
        state = self.state
        known = [time for time in (state.execute_time, state.start_time, state.completion_time) if time is not None]
        assert known == sorted(known)
        assert all(time.utcoffset() == timedelta(0) for time in known)

    @invariant()
    def it_has_a_completion_time_if_it_is_over(self) -> None:
        assert (self.state.completion_time is not None) == final(self.state)

    @invariant()
    def it_has_run_for_good_once_it_has_run(self) -> None:
        if self.state.attempt == self.before.attempt:
            assert self.state.has_run >= self.before.has_run
            assert self.before.start_time is None or self.state.start_time == self.before.start_time
        if self.state.as_status.kind.running:
            assert self.state.has_run
        assert self.state.has_run == (self.state.start_time is not None)

    @invariant()
    def attempts_are_counted_by_submissions_only(self) -> None:
        assert self.state.attempt - self.before.attempt == (self.before is not self.state and self.event == Intent())

    @invariant()
    def what_is_stored_of_the_status_belongs_together(self) -> None:
        state = self.state
        assert state.as_status == statuses.parse(state.status)
        assert state.crashed <= isinstance(self.event, News) or state.crashed <= self.before.crashed

    @invariant()
    def what_people_see_changed_is_a_visible_change(self) -> None:
        seen = ("status_code", "status", "status_class", "status_message", "crashed", "has_run")
        changed = any(getattr(self.before, name) != getattr(self.state, name) for name in seen)
        assert visible_change(self.before, self.state) == changed


Job.TestCase.settings = settings(max_examples=200, stateful_step_count=30)
TestWhateverHappens = Job.TestCase


@given(st.lists(observed, max_size=6), observed)
def test_every_scheduler_may_repeat_itself(history: list[News], event: News) -> None:
    state = transition(StatusState(), Intent(), NOON)
    for earlier in history:
        state = transition(state, earlier, NOON)

    once = transition(state, event, NOON)

    assert transition(once, event, NOON) == once


@given(st.lists(news(*Source), max_size=6), st.one_of(news(*Source), st.just(Accepted()), st.just(Intent())))
def test_a_transition_never_changes_what_it_is_given(history: list[News], event: Event) -> None:
    state = StatusState()
    for earlier in history:
        state = transition(state, earlier, NOON)
    copy = replace(state)

    transition(state, event, NOON + timedelta(seconds=1))

    assert state == copy
