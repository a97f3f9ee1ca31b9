"""Who may do what for how long: the results' lease and the faces that Prefect must still show, on both databases."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from prefect_jobs import clock
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.store import Store
from prefect_jobs.store.leases import kept_up
from tests.support import draft, eventually

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> None:
    """Sets the clock."""
    clock.set_clock(lambda: NOON + timedelta(seconds=seconds))


def read(store: Store, job: JobRecord) -> JobRecord:
    found = store.get(job.id)
    assert found is not None
    return found


def changed(store: Store, job: JobRecord) -> JobRecord:
    """The job after a change that Prefect must show."""
    return store.update(job.id, lambda fresh: Change({"name": "changed", "face_seq": fresh.face_seq + 1})).after


# -- results -----------------------------------------------------------------------------------------------


def test_results_are_processed_by_one_owner_at_a_time(store: Store) -> None:
    job, other = store.insert(draft()), store.insert(draft())
    at(0)

    assert store.claim_results(job.id, "one", 60)

    assert not store.claim_results(job.id, "two", 60)
    assert store.claim_results(other.id, "two", 60)
    found = read(store, job)
    assert (found.results_owner, found.results_until) == ("one", NOON + timedelta(seconds=60))


def test_an_owner_may_lengthen_its_lease(store: Store) -> None:
    job = store.insert(draft())
    at(0)
    store.claim_results(job.id, "one", 60)

    at(50)
    assert store.claim_results(job.id, "one", 60)

    at(100)
    assert not store.claim_results(job.id, "two", 60)


def test_a_lease_of_an_owner_that_died_expires(store: Store) -> None:
    job = store.insert(draft())
    at(0)
    store.claim_results(job.id, "one", 60)

    at(59.9)
    assert not store.claim_results(job.id, "two", 60)
    at(60.1)
    assert store.claim_results(job.id, "two", 60)

    assert not store.claim_results(job.id, "one", 60)


def test_leases_of_others_are_found_by_how_their_names_begin(store: Store) -> None:
    store.claim_leases(["run:1:a", "run:2:b"], "one", 60)
    assert not store.others_hold("run:1:", "one") and store.others_hold("run:1:", "two")
    assert not store.others_hold("run:3:", "two") and not store.others_hold("run_1:", "two")

    # one that its owner has not renewed is there, and is found as that of a process that died
    store.claim_leases(["run:3:c"], "three", -1)
    assert not store.others_hold("run:3:", "two")
    assert store.ended_leases("run:") == [("run:3:c", "three")]


def test_only_its_owner_gives_a_lease_back(store: Store) -> None:
    job = store.insert(draft())
    store.claim_results(job.id, "one", 60)

    store.release_results(job.id, "two")
    assert not store.claim_results(job.id, "two", 60)

    store.release_results(job.id, "one")
    assert store.claim_results(job.id, "two", 60)


def test_there_is_no_lease_of_a_job_that_is_gone(store: Store) -> None:
    job = store.insert(draft())
    store.delete(job.id)

    assert not store.claim_results(job.id, "one", 60)
    store.release_results(job.id, "one")


# -- faces -------------------------------------------------------------------------------------------------


def test_a_new_job_is_to_be_shown_by_whoever_claims_it_first(store: Store) -> None:
    job = store.insert(draft())

    assert job.behind
    assert store.backlog() == 1
    assert store.claim_faces("one", 60, 10) == [job]

    assert store.claim_faces("two", 60, 10) == []
    assert store.claim_faces("one", 60, 10) == [job]


def test_a_job_that_is_shown_is_nobodys_work_until_it_changes(store: Store) -> None:
    job = store.insert(draft())
    (claimed,) = store.claim_faces("one", 60, 10)

    store.face_shown(claimed, flow_run_id="run", flow_state_id="state", shown={"name": "a job"})

    found = read(store, job)
    assert not found.behind
    assert (found.flow_run_id, found.flow_state_id, found.face_shown) == ("run", "state", {"name": "a job"})
    assert store.backlog() == 0
    assert store.behind([job.id]) == {}
    assert store.claim_faces("two", 60, 10) == []

    again = changed(store, found)

    assert store.backlog() == 1
    assert store.behind([job.id, job.id + 1]) == {job.id: again.face_seq}
    assert store.claim_faces("two", 60, 10) == [again]


def test_a_job_that_changed_while_it_was_shown_stays_behind(store: Store) -> None:
    job = store.insert(draft())
    (claimed,) = store.claim_faces("one", 60, 10)
    fresh = changed(store, job)

    store.face_shown(claimed, flow_run_id="run")

    found = read(store, job)
    assert found.behind
    assert found.name == "changed"
    assert store.claim_faces("two", 60, 10) == [found]
    assert found.version == fresh.version


def test_what_is_noted_of_a_face_does_not_disturb_a_change_that_is_being_made(store: Store) -> None:
    job = store.insert(draft())
    calls = []

    def slow(fresh: JobRecord) -> Change:
        calls.append(fresh)
        store.face_shown(fresh, flow_run_id="run", flow_state_id="state")
        return Change({"description": "new"})

    store.update(job.id, slow)

    found = read(store, job)
    assert len(calls) == 1
    assert (found.description, found.flow_run_id, found.flow_state_id) == ("new", "run", "state")


def test_a_claim_of_faces_expires(store: Store) -> None:
    job = store.insert(draft())
    at(0)
    store.claim_faces("one", 30, 10)

    at(29.9)
    assert store.claim_faces("two", 30, 10) == []
    at(30.1)
    assert store.claim_faces("two", 30, 10) == [job]


def test_claims_of_faces_are_given_back_together_and_the_marks_stay(store: Store) -> None:
    jobs = [store.insert(draft()) for _ in range(3)]
    store.claim_faces("one", 60, 2)
    store.claim_faces("two", 60, 1)

    store.release_faces("one")

    assert store.claim_faces("three", 60, 10) == jobs[:2]
    assert store.backlog() == 3


def test_faces_are_claimed_oldest_job_first_and_no_more_than_asked_for(store: Store) -> None:
    jobs = [store.insert(draft()) for _ in range(4)]

    assert store.claim_faces("one", 60, 10, only=[jobs[3].id, 999_999]) == [jobs[3]]
    assert store.claim_faces("two", 60, 2) == jobs[:2]
    assert store.claim_faces("three", 60, 10) == [jobs[2]]
    assert store.claim_faces("four", 60, 10, only=[]) == []


@pytest.mark.parametrize("times", [1, 2])
def test_the_flow_run_of_a_job_deleted_while_it_was_made_is_deleted_too(store: Store, times: int) -> None:
    job = store.insert(draft())
    (claimed,) = store.claim_faces("one", 60, 10)
    store.delete(job.id)

    for _ in range(times):
        store.face_shown(claimed, flow_run_id="run-just-made")

    assert store.run_deletions() == ["run-just-made"]


def test_flow_runs_are_deleted_in_the_order_asked(store: Store) -> None:
    jobs = [store.insert(draft(flow_run_id=f"run-{number}")) for number in (2, 1, 3)]
    for number, job in enumerate(jobs):
        at(number)
        store.delete(job.id)

    assert store.run_deletions() == ["run-2", "run-1", "run-3"]


# -- messages ----------------------------------------------------------------------------------------------


def test_a_job_with_messages_that_prefect_lacks_is_work_too(store: Store) -> None:
    job = store.insert(draft())
    store.face_shown(job, flow_run_id="run")
    store.update(job.id, lambda _: Change({}, ((20, "first"), (20, "second"))))

    (claimed,) = store.claim_faces("one", 60, 10)

    assert claimed.id == job.id
    assert not claimed.behind
    first, second = store.unlogged([job.id])
    assert (first.text, second.text) == ("first", "second")

    store.face_shown(claimed)
    store.mark_logged([first.id])
    assert store.unlogged([job.id, job.id + 1]) == [second]
    assert [job.id for job in store.claim_faces("two", 60, 10)] == [job.id]

    store.face_shown(claimed)
    store.mark_logged([second.id])
    assert store.claim_faces("two", 60, 10) == []
    assert store.messages(job.id) == [first, second]


def test_messages_of_a_job_without_a_flow_run_wait_for_it(store: Store) -> None:
    job = store.insert(draft())
    store.face_shown(job)
    store.update(job.id, lambda _: Change({}, ((20, "first"),)))
    assert store.claim_faces("one", 60, 10) == []

    store.face_shown(job, flow_run_id="run")

    assert [job.id for job in store.claim_faces("one", 60, 10)] == [job.id]


def test_flow_runs_are_told_by_job(store: Store) -> None:
    jobs = [store.insert(draft(flow_run_id=run)) for run in ("run-1", None, "run-3")]

    assert store.runs_of([job.id for job in jobs]) == {jobs[0].id: "run-1", jobs[2].id: "run-3"}
    assert store.runs_of([]) == {}


def test_leases_are_renewed_until_they_end_whatever_becomes_of_others() -> None:
    renewed: Counter[str] = Counter()

    def fails() -> None:
        renewed["bad"] += 1
        raise RuntimeError("of this lease")

    with kept_up(fails, 0.01):
        with kept_up(lambda: renewed.update(["good"]), 0.01):
            eventually(lambda: min(renewed["good"], renewed["bad"]) > 2, "both are renewed", interval=0.01)
        ended, bad = renewed["good"], renewed["bad"]
        eventually(lambda: renewed["bad"] > bad + 2, "the other one goes on", interval=0.01)
        assert renewed["good"] == ended
