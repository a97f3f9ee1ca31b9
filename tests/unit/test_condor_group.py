"""Thousands of jobs at one access point: the queue is asked for in slices, and rows are read only for news."""

import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.condor import group as module
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.condor.group import CondorGroup
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.schedulers.condor.client import CondorClient
from tests.unit.test_condor_watch import SUBMITTED

IDLE, RUNNING = 1, 2
MANY = 9


class Queue:
    """A schedd with jobs of one proc; notes what it was asked for."""

    def __init__(self, number: int) -> None:
        self.states = dict.fromkeys(range(1, number + 1), IDLE)
        self.asked: list[str] = []
        #: Clusters that it says have changed; at first it does not tell of changes.
        self.changed: list[int] = []
        self.time = 9

    def query(self, constraint: str, projection: Sequence[str] = (), **_: Any) -> list[dict[str, Any]]:
        self.asked.append(constraint)
        if "EnteredCurrentStatus" in constraint:
            return [self.ad(cluster) for cluster in self.changed]
        part = re.search(r"ClusterId % (\d+) == (\d+)", constraint)
        wanted = re.search(r'"([^"]*)"', constraint)
        tokens = wanted[1].split(",") if wanted else []
        return [
            self.ad(cluster)
            for cluster in self.states
            if (not part or cluster % int(part[1]) == int(part[2])) and (not tokens or f"t{cluster}" in tokens)
        ]

    def ad(self, cluster: int) -> dict[str, Any]:
        token, state = f"t{cluster}", self.states[cluster]
        return {
            "ClusterId": cluster,
            "ProcId": 0,
            "JobStatus": state,
            "PrefectJobsToken": token,
            "ServerTime": self.time,
        }

    def history(self, _constraint: str, **_: Any) -> list[dict[str, Any]]:
        return []


class Rows:
    """The rows of jobs; notes which ones were read."""

    def __init__(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(CondorEngine, "client", lambda _: cast(CondorClient, queue))
        native = {"total": 1, "procs": [{"proc": 0, "state": "Idle"}]}
        self.records = {
            number: replace(
                SUBMITTED, id=number, remote_id=str(number), submission_token=f"t{number}", version=1, native=native
            )
            for number in queue.states
        }
        self.read: list[int] = []

    def job(self, number: int) -> AnyJob:
        handle = SimpleNamespace(
            record=self.records[number], id=number, backend=SimpleNamespace(site=SimpleNamespace(held_timeout=None))
        )
        engine = CondorEngine.__new__(CondorEngine)
        engine.handle = cast(Any, handle)
        return cast(AnyJob, SimpleNamespace(handle=handle, engine=engine, polls_itself=lambda: False))

    def load(self, job_ids: Sequence[int]) -> list[AnyJob]:
        self.read += job_ids
        return [self.job(number) for number in job_ids]


@pytest.fixture
def queue() -> Queue:
    return Queue(MANY)


@pytest.fixture
def rows(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(module, "SLICE", 3)
    monkeypatch.setattr(module, "_FIRST", 3)
    return Rows(queue, monkeypatch)


@pytest.fixture
def group(rows: Rows) -> CondorGroup:
    made = CondorGroup()
    for number in rows.records:
        made.follow(rows.job(number))
    return made


def test_at_first_the_whole_queue_is_asked_for_in_slices(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    for _ in range(3):
        assert group.poll_followed(rows.load) == []
    slices = [text for text in queue.asked if "ClusterId %" in text]
    assert [text.split(" && ")[0] for text in slices] == [f"ClusterId % 3 == {part}" for part in range(3)]
    assert set(rows.read) == {1}  # one, for its access point
    # then there is a pause
    group.poll_followed(rows.load)
    assert len([text for text in queue.asked if "ClusterId %" in text]) == 3


def test_a_large_queue_is_read_soon_and_then_as_often_as_always(group: CondorGroup, rows: Rows) -> None:
    pauses: list[float] = []
    for _ in range(4):
        group.poll_followed(rows.load)
        pauses.append(group.pause(2.0))
    group.look_again()  # as after each race with another process
    pauses.append(group.pause(2.0))
    assert pauses == [0.2, 0.2, 2.0, 2.0, 2.0]


def test_while_many_jobs_are_read_no_slice_is_asked_for(
    rows: Rows, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(module, "_CHUNK", 2)
    group, asked = CondorGroup(), []
    # when they are read in three turns
    for turn in (range(1, 4), range(4, 7), range(7, MANY + 1), range(0), range(0), range(0)):
        group.reading = MANY not in turn and bool(turn)
        for number in turn:
            group.follow(rows.job(number))
        queue.asked.clear()
        group.poll_followed(rows.load)
        asked.append((sum("ClusterId %" in text for text in queue.asked), group.catching_up))
    # then
    assert asked == [(0, True), (0, True), (1, True), (1, True), (1, False), (0, False)]


def test_a_job_that_fails_each_time_does_not_make_polls_hurry_for_ever(
    group: CondorGroup, queue: Queue, rows: Rows
) -> None:
    pauses: list[float] = []
    for number in range(7):
        group.poll_followed(rows.load)
        if number < 3:
            group.look_again()
        pauses.append(group.pause(2.0))
    assert pauses == [0.2, 0.2, 2.0, 2.0, 2.0, 2.0, 2.0]
    # and everything is asked for once more
    slices = [text.split(" && ")[0] for text in queue.asked if "ClusterId %" in text]
    assert slices == [f"ClusterId % 3 == {part}" for part in (0, 1, 2, 0, 1, 2)]


def test_where_the_number_of_jobs_changes_no_slice_is_left_out(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    group.poll_followed(rows.load)
    group.drop(MANY)  # two slices would do now
    for number in (MANY - 1, MANY - 2):
        group.drop(number)
    for _ in range(2):
        group.poll_followed(rows.load)
    slices = [text.split(" && ")[0] for text in queue.asked if "ClusterId %" in text]
    assert slices == [f"ClusterId % 3 == {part}" for part in range(3)] and not group.catching_up


def test_who_follows_no_job_catches_up_with_nothing(
    group: CondorGroup, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "_states", lambda *_: (_ for _ in ()).throw(SchedulerConnectionError("no answer")))
    with pytest.raises(SchedulerConnectionError):
        group.poll_followed(rows.load)
    assert group.catching_up
    for number in rows.records:
        group.drop(number)
    assert not group.catching_up


def test_slices_that_are_too_large_become_smaller(rows: Rows, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    monkeypatch.setattr(module, "_FIRST", MANY)
    group = CondorGroup()
    for number in rows.records:
        group.follow(rows.job(number))
    # when
    with monkeypatch.context() as patch:
        patch.setattr(group, "_states", lambda *_: (_ for _ in ()).throw(SchedulerConnectionError("too much")))
        with pytest.raises(SchedulerConnectionError):
            group.poll_followed(rows.load)
    for _ in range(3):
        group.poll_followed(rows.load)
    # then
    slices = [text.split(" && ")[0] for text in queue.asked if "ClusterId %" in text]
    assert slices == [f"ClusterId % 3 == {part}" for part in range(3)] and not group.catching_up


def test_what_was_missed_is_found_in_its_slice(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    queue.states[5] = RUNNING
    del queue.states[7]
    found = [each for _ in range(3) for each in group.poll_followed(rows.load)]
    told = {job.handle.record.id: news for job, news in found}
    assert told[5].status == "Running" and told[7].native["missing_since"]
    assert set(told) == {5, 7} and set(rows.read) == {1, 5, 7}


def test_the_row_of_what_changed_is_read_once(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    # given
    for _ in range(3):
        group.poll_followed(rows.load)
    rows.read.clear()
    # when the schedd tells of a change for some seconds, which cannot be written at first
    queue.states[5], queue.changed = RUNNING, [5]
    told = []
    for written in (False, True, True, True):
        told.append([job.handle.record.id for job, _ in group.poll_followed(rows.load)])
        if written:
            group.written()
    # then
    assert told == [[5], [5], [], []] and rows.read.count(5) == 2
    # when it changes again, and the job itself could not be polled
    queue.states[5] = IDLE
    for _ in range(2):
        assert [job.handle.record.id for job, _ in group.poll_followed(rows.load)] == [5]
        group.look_again()
        group.written()


def test_a_change_is_told_again_and_a_slice_asked_again_where_the_schedd_failed(
    group: CondorGroup, queue: Queue, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.poll_followed(rows.load)
    group.written()
    queue.states[5], queue.changed = RUNNING, [5]
    with monkeypatch.context() as patch:
        patch.setattr(group, "_states", lambda *_: (_ for _ in ()).throw(SchedulerConnectionError("no answer")))
        with pytest.raises(SchedulerConnectionError):
            group.poll_followed(rows.load)
    assert [job.handle.record.id for job, _ in group.poll_followed(rows.load)] == [5]
    slices = [text for text in queue.asked if "ClusterId %" in text]
    assert [text.split(" && ")[0] for text in slices] == [f"ClusterId % 3 == {part}" for part in range(2)]


def test_a_slice_asks_again_only_for_what_the_changes_did_not_tell(
    group: CondorGroup, queue: Queue, rows: Rows
) -> None:
    # given
    for _ in range(3):
        group.poll_followed(rows.load)
    # when three jobs of one slice change, of which the schedd tells one, and one is gone
    queue.states.update({3: RUNNING, 6: RUNNING})
    del queue.states[9]
    queue.changed = [3]
    queue.asked.clear()
    group.look_again()
    told = [job.handle.record.id for job, _ in group.poll_followed(rows.load)]
    # then
    assert sorted(told) == [3, 6, 9]
    asked = [wanted[1] for text in queue.asked if (wanted := re.search(r'"([^"]*)"', text))]
    assert asked == ["t6", "t9"]  # the second one for itself, once more before its history


def test_one_that_is_new_is_asked_for_at_once(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    for _ in range(3):
        group.poll_followed(rows.load)
    queue.states[10] = RUNNING
    rows.records[10] = replace(rows.records[9], id=10, remote_id="10", submission_token="t10", native={"total": 1})
    group.follow(rows.job(10))
    found = group.poll_followed(rows.load)
    assert [(job.handle.record.id, news.status) for job, news in found] == [(10, "Running")]
    group.drop(10)
    assert group.poll_followed(rows.load) == []


def test_jobs_that_poll_themselves_take_nothing_from_the_others(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    own = cast(AnyJob, SimpleNamespace(
        handle=SimpleNamespace(record=SUBMITTED),
        engine=None,
        hooks=SimpleNamespace(update_status=lambda: None),
    ))  # fmt: skip
    queue.states[5] = RUNNING
    assert group.poll([own]) == {}
    found = [job.handle.record.id for _ in range(3) for job, _ in group.poll_followed(rows.load)]
    assert found == [5]


def test_what_is_no_news_is_not_read_again(group: CondorGroup, rows: Rows) -> None:
    # given a job that was never polled: its row says as much as the queue, but for its process
    rows.records[4] = replace(rows.records[4], version=2, native={"total": 1})
    group.follow(rows.job(4))
    found = [each for _ in range(3) for each in group.poll_followed(rows.load)]
    assert [job.handle.record.id for job, _ in found] == [4]
    # when
    group.seen(*found[0])
    group.look_again()
    # then
    assert [each for _ in range(3) for each in group.poll_followed(rows.load)] == []


def test_of_many_that_are_lost_each_has_its_turn(
    group: CondorGroup, queue: Queue, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOST", 2)
    queue.states.clear()
    told = [job.handle.record.id for _ in range(5) for job, _ in group.poll_followed(rows.load)]
    assert sorted(set(told)) == list(range(1, MANY + 1))


def test_of_many_that_change_at_once_some_are_read_in_each_poll(
    group: CondorGroup, queue: Queue, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(module, "_MOST", 4)
    for _ in range(3):
        group.poll_followed(rows.load)
    # when all begin to run
    queue.states = dict.fromkeys(queue.states, RUNNING)
    queue.changed = list(queue.states)
    told = []
    for _ in range(4):
        told.append([job.handle.record.id for job, _ in group.poll_followed(rows.load)])
        group.written()
    # then
    assert told == [[1, 2, 3, 4], [5, 6, 7, 8], [9], []]


def test_what_was_not_written_is_asked_for_again(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    def since() -> int:
        (asked,) = [found for text in queue.asked if (found := re.search(r"EnteredCurrentStatus >= (\d+)", text))]
        queue.asked.clear()
        return int(asked[1])

    for _ in range(3):
        group.poll_followed(rows.load)
        group.written()
    queue.states[4], queue.changed, queue.time = RUNNING, [4], 20
    queue.asked.clear()
    # when it is not written
    assert len(group.poll_followed(rows.load)) == 1
    before = since()
    # then
    assert [job.handle.record.id for job, _ in group.poll_followed(rows.load)] == [4]
    assert since() == before
    group.written()
    assert group.poll_followed(rows.load) == []
    assert since() > before


def test_a_job_of_which_ever_more_changes_loses_none_of_it(
    group: CondorGroup, queue: Queue, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given more changes than one poll reads, and a job of two procs behind them
    for _ in range(3):
        group.poll_followed(rows.load)
    monkeypatch.setattr(module, "_MOST", 1)
    queue.states = dict.fromkeys(queue.states, RUNNING)
    rows.records[9] = replace(
        rows.records[9], native={"total": 2, "procs": [{"proc": 0, "state": "Idle"}, {"proc": 1, "state": "Idle"}]}
    )
    queue.changed = [1, 9]
    group.poll_followed(rows.load)
    group.written()
    # when its second proc changes, too, and the schedd tells of the first one no longer
    monkeypatch.setattr(queue, "changed", [])
    second = {**queue.ad(9), "ProcId": 1}
    ask = queue.query
    monkeypatch.setattr(
        queue, "query", lambda which, *more, **_: [second] if "EnteredCurrentStatus" in which else ask(which, *more)
    )
    ((job, news),) = group.poll_followed(rows.load)
    # then
    assert job.handle.record.id == 9 and news.status == "Running"
    assert [proc["state"] for proc in news.native["procs"]] == ["Running", "Running"]


def test_a_queue_without_our_jobs_is_asked_for_in_no_hurry(group: CondorGroup, queue: Queue, rows: Rows) -> None:
    queue.states.clear()
    for _ in range(4):
        group.poll_followed(rows.load)
    assert not group.catching_up and group.pause(2.0) == 2.0


def test_what_running_procs_use_is_asked_for_in_slices(
    queue: Queue, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "USAGE", 0.0)
    made = CondorGroup()
    for number in rows.records:
        made.follow(rows.job(number))
    for _ in range(3):
        made.poll_followed(rows.load)
    made.look_again()
    for _ in range(3):
        made.poll_followed(rows.load)
    asked = [text for text in queue.asked if text.endswith("JobStatus == 2")]
    assert {text.split(" && ")[0] for text in asked} == {f"ClusterId % 3 == {part}" for part in range(3)}
