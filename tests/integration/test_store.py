"""One job in the store, on both databases: what was written comes back, and nothing else is touched."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_jobs import clock, statuses
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.records import Change, JobRecord, StatusState, Written
from prefect_jobs.store import Database, JobGone, Store
from tests.support import draft

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)


def full_record() -> JobRecord:
    return draft(
        "flood of {id}",
        description="A long story.\nWith “quotes”.",
        workspace="/data/with space",
        groups=("hydrology", "modellers"),
        state=StatusState(
            status_code="OTH",
            status="Warming up",
            status_class="ran:RUNNING",
            status_message="soon",
            observed_status="Running",
            attempt=3,
            has_run=True,
            crashed=True,
            execute_time=NOON,
            start_time=NOON + timedelta(seconds=1),
            completion_time=NOON + timedelta(seconds=2),
            last_status_update=NOON + timedelta(seconds=3),
        ),
        extended_properties={"basin": {"name": "Elbe", "areas": [1, 2.5, None]}},
        process_results_function="json.dumps",
        spec={"attributes": {"executable": "run.sh"}},
        native={"procs": [{"proc": 0}]},
        scheduler="primary",
        remote_id="17",
        submission_token="0123abcd",
        submitting_since=NOON,
        engine_run=True,
        face_shown={"name": "flood"},
        flow_run_id="9b1d2f3e-0000-4000-8000-000000000001",
        flow_state_id="9b1d2f3e-0000-4000-8000-000000000002",
        results_owner="somebody",
        results_until=NOON,
    )


@pytest.fixture(scope="module")
def shared(new_store: Callable[[], Store]) -> Store:
    """For tests that look at their own jobs only."""
    return new_store()


# -- new jobs ----------------------------------------------------------------------------------------------


def test_every_field_of_a_new_job_is_stored(store: Store) -> None:
    given = full_record()

    stored = store.insert(given)

    found = store.get(stored.id)
    assert found == stored
    assert found == replace(given, id=stored.id, version=1, face_seq=1, name=f"flood of {stored.id}")


def test_id_in_braces_becomes_the_id_wherever_it_stands_in_the_name(shared: Store) -> None:
    stored = shared.insert(draft("{id}: {other} {id}{} {ID}"))

    assert stored.name == f"{stored.id}: {{other}} {stored.id}{{}} {{ID}}"
    assert shared.get(stored.id) == stored


def test_a_name_of_the_greatest_length_may_grow_by_the_id(shared: Store) -> None:
    shared.insert(draft())
    given = "{id}" * 256

    stored = shared.insert(draft(given))

    assert stored.name.startswith(f"{stored.id}{stored.id}")
    assert shared.get(stored.id) == stored


def test_a_name_may_be_of_1024_letters_of_any_script(shared: Store) -> None:
    # Three bytes each in UTF-8, and no two alike, so that no compression helps.
    name = "".join(chr(0x4E00 + number * 7) for number in range(1024))

    stored = shared.insert(draft(name))

    assert shared.get(stored.id) == stored


def test_a_job_that_does_not_exist_is_none(store: Store) -> None:
    stored = store.insert(draft())

    assert store.get(stored.id + 1) is None
    assert store.get(stored.id) == stored


@pytest.mark.parametrize("job_id", [0, -1, 2**31, 2**63, 10**30])
def test_an_id_that_no_job_can_have_is_none(shared: Store, job_id: int) -> None:
    assert shared.get(job_id) is None


def test_a_second_job_with_the_same_submission_token_is_refused(store: Store) -> None:
    store.insert(draft(submission_token="one"))

    with pytest.raises(PrefectJobsError, match="'twin' could not be stored"):
        store.insert(draft("twin", submission_token="one"))

    store.insert(draft(submission_token=None))
    store.insert(draft(submission_token=None))


def test_ids_are_never_used_again(store: Store, database_url: str) -> None:
    first, last = store.insert(draft()), store.insert(draft())
    store.delete(last.id)
    store.delete(first.id)
    store.database.dispose()

    later = Database(database_url)
    fresh = Store(later).insert(draft())
    later.dispose()

    assert fresh.id > last.id


# -- values ------------------------------------------------------------------------------------------------

JSON_VALUES: list[Any] = [
    {},
    {"empty": [{}, [], "", None, False, True, 0]},
    {"deep": {"a": {"b": {"c": [[[[1]]]]}}}},
    {"numbers": [0, -1, 2**53 + 1, 2**64, 10**40, 0.1, -0.5, 1e-300, 1.0, 123456789.987654321]},
    {"text": "Grüße, 世界 \U0001f30a\t\n\r\\ \" ' % _ \x7f \u2028"},
    {"": "empty key", 'k"e\\y': 1, "a.b": 2, "$": 3, "ключ": 4, "__x__": 5, " ": 6},
    {"long": "x" * 200_000},
]


@pytest.mark.parametrize("value", JSON_VALUES, ids=lambda value: next(iter(value), "nothing"))
def test_json_comes_back_deeply_equal(shared: Store, value: dict[str, Any]) -> None:
    values: dict[str, Any] = dict.fromkeys(("extended_properties", "spec", "native", "face_shown"), value)
    inserted = shared.insert(replace(draft(), **values))
    updated = shared.insert(draft())
    shared.update(updated.id, lambda _: Change(values))

    for job in (inserted, updated):
        found = shared.get(job.id)
        assert found is not None
        for column in values:
            assert getattr(found, column) == value
            # 1 and 1.0 are equal, but not the same.
            assert repr(getattr(found, column).get("numbers")) == repr(value.get("numbers"))


def test_the_record_handed_back_holds_what_a_reader_will_find(shared: Store) -> None:
    given = {"size": (1, 2), 7: "seven", "list": [1]}

    stored = shared.insert(draft(extended_properties=given, groups=("b", "a", "b")))
    changed = shared.update(stored.id, lambda _: Change({"spec": {"pair": (3, 4)}, "groups": ("z", "y", "z")})).after
    given["list"].append(2)  # type: ignore[attr-defined]

    assert stored.extended_properties == {"size": [1, 2], "7": "seven", "list": [1]}
    assert stored.groups == ("a", "b")
    assert changed == shared.get(stored.id)
    assert changed.groups == ("y", "z")


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), {1, 2}, datetime(2026, 1, 1, tzinfo=UTC), b"x", "nul \0", "half \ud83c"],
    ids=["nan", "inf", "object", "set", "time", "bytes", "nul", "surrogate"],
)
def test_what_json_or_the_database_cannot_keep_is_refused_and_nothing_is_written(shared: Store, value: Any) -> None:
    stored = shared.insert(draft())

    with pytest.raises(ValueError, match="extended_properties"):
        shared.insert(draft(extended_properties={"deep": [value]}))
    with pytest.raises(ValueError, match="extended_properties"):
        shared.update(stored.id, lambda _: Change({"name": "new", "extended_properties": {"deep": [value]}}))

    assert shared.get(stored.id) == stored


def test_a_text_that_no_database_can_keep_costs_a_character_and_not_the_job(shared: Store) -> None:
    stored = shared.insert(draft("a\0b", description="c\ud83cd"))

    shared.update(
        stored.id, lambda job: Change({"state": replace(job.state, status_message="e\0f")}, ((20, "g\0h\udcff"),))
    )

    found = shared.get(stored.id)
    assert found is not None
    assert found.name == stored.name == "a\ufffdb"
    assert found.description == "c\ufffdd"
    assert found.state.status_message == "e\ufffdf"
    assert [message.text for message in shared.messages(stored.id)] == ["g\ufffdh\ufffd"]


def test_times_come_back_aware_and_in_utc(shared: Store) -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    given = datetime(2026, 3, 29, 2, 30, 0, 1, there)

    stored = shared.insert(draft(creation_time=given, state=StatusState(start_time=given)))

    found = shared.get(stored.id)
    assert found is not None
    for value in (found.creation_time, found.state.start_time):
        assert value == given
        assert value is not None
        assert value.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(shared: Store) -> None:
    with pytest.raises(ValueError, match="without a zone"):
        shared.insert(draft(creation_time=datetime(2026, 3, 1)))


# -- changes -----------------------------------------------------------------------------------------------


def test_a_change_raises_the_version_and_leaves_the_other_fields(store: Store) -> None:
    before = store.insert(full_record())

    after = store.update(before.id, lambda _: Change({"description": "new"})).after

    assert after == replace(before, version=2, description="new")
    assert store.get(before.id) == after


def test_a_change_of_state_is_written_whole(store: Store) -> None:
    before = store.insert(full_record())
    state = StatusState(status=statuses.COMPLETE, status_code="COM", status_class="t:COMPLETED", attempt=4)

    store.update(before.id, lambda _: Change({"state": state}))

    found = store.get(before.id)
    assert found is not None
    assert found.state == state


@pytest.mark.parametrize("nothing", [None, Change()])
def test_a_change_of_nothing_writes_nothing(shared: Store, nothing: Change | None) -> None:
    before = shared.insert(draft())

    assert shared.update(before.id, lambda _: nothing) == Written(before, before, None)

    assert shared.get(before.id) == before


def test_a_lost_race_is_run_again_on_what_the_winner_wrote(shared: Store) -> None:
    stored = shared.insert(draft(extended_properties={"count": 0}))
    seen = []

    def count(job: JobRecord) -> Change:
        seen.append(job.version)
        if len(seen) == 1:
            shared.update(job.id, lambda other: Change({"extended_properties": {"count": 10}, "name": "the winner's"}))
        return Change({"extended_properties": {"count": job.extended_properties["count"] + 1}})

    after = shared.update(stored.id, count).after

    assert seen == [1, 2]
    assert (after.version, after.name, after.extended_properties) == (3, "the winner's", {"count": 11})
    assert shared.get(stored.id) == after


def test_an_error_in_a_change_writes_nothing(shared: Store) -> None:
    stored = shared.insert(draft())

    def broken(_: JobRecord) -> Change:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        shared.update(stored.id, broken)

    assert shared.get(stored.id) == stored


def test_a_deleted_job_cannot_be_changed(store: Store) -> None:
    stored = store.insert(draft())
    store.delete(stored.id)

    with pytest.raises(JobGone, match=f"Job {stored.id} "):
        store.update(stored.id, lambda _: Change({"name": "new"}))


def test_a_job_deleted_while_its_change_is_made_is_gone(store: Store) -> None:
    stored = store.insert(draft())

    def slow(job: JobRecord) -> Change:
        store.delete(job.id)
        return Change({"name": "new"}, ((20, "never said"),))

    with pytest.raises(JobGone):
        store.update(stored.id, slow)

    assert store.messages(stored.id) == []


def test_groups_are_replaced_as_a_whole(shared: Store) -> None:
    stored = shared.insert(draft(groups=("a", "b")))

    shared.update(stored.id, lambda _: Change({"groups": ("c", "b")}))
    found = shared.get(stored.id)
    assert found is not None
    assert found.groups == ("b", "c")

    shared.update(stored.id, lambda _: Change({"groups": ()}))
    found = shared.get(stored.id)
    assert found is not None
    assert found.groups == ()


def test_messages_are_kept_in_the_order_in_which_they_were_said(store: Store) -> None:
    stored, other = store.insert(draft()), store.insert(draft())
    clock.set_clock(lambda: NOON)

    after = store.update(stored.id, lambda _: Change({}, ((20, "first"), (40, "second")))).after
    store.update(stored.id, lambda _: Change({"name": "new"}, ((30, "third"),)))

    assert after.version == 2
    found = store.messages(stored.id)
    assert [(m.job_id, m.time, m.level, m.text) for m in found] == [
        (stored.id, NOON, 20, "first"),
        (stored.id, NOON, 40, "second"),
        (stored.id, NOON, 30, "third"),
    ]
    assert store.messages(other.id) == []


# -- deletion ----------------------------------------------------------------------------------------------


def test_a_deleted_job_takes_its_groups_and_messages_along(store: Store) -> None:
    stored, other = store.insert(draft(groups=("a",))), store.insert(draft(groups=("a",)))
    store.update(stored.id, lambda _: Change({}, ((20, "said"),)))

    assert store.delete(stored.id) is True

    assert store.get(stored.id) is None
    assert store.messages(stored.id) == []
    assert store.unlogged([stored.id]) == []
    assert store.get(other.id) == other
    assert store.delete(stored.id) is False


def test_the_flow_run_of_a_deleted_job_is_noted_until_it_is_deleted(store: Store) -> None:
    with_run = store.insert(draft(flow_run_id="run-1"))
    without = store.insert(draft())

    store.delete(with_run.id)
    store.delete(without.id)

    assert store.run_deletions() == ["run-1"]
    assert store.to_be_deleted(["run-1", "run-2"]) == {"run-1"} and store.to_be_deleted([]) == set()
    store.run_deleted("run-1")
    store.run_deleted("run-1")
    assert store.run_deletions() == [] and store.to_be_deleted(["run-1"]) == set()


def test_flow_runs_to_be_deleted_are_given_some_at_a_time(store: Store) -> None:
    for number in range(3):
        store.delete(store.insert(draft(flow_run_id=f"run-{number}")).id)

    assert store.run_deletions(2) == ["run-0", "run-1"]
    assert store.run_deletions() == ["run-0", "run-1", "run-2"]
