"""Schedules, on both databases."""

from dataclasses import replace

from prefect_jobs.records import ScheduleRecord
from prefect_jobs.store import Store

NIGHTLY = ScheduleRecord(
    "app", "alice", "nightly", "CONDOR", {"cron": "0 3 * * *"}, {"name": "nightly"}, {"overlap": "skip"}, "id of one"
)


def test_a_schedule_is_found_by_its_name_its_deployment_and_in_lists(store: Store) -> None:
    others = [replace(NIGHTLY, user="bob", deployment_id="two"), replace(NIGHTLY, label="other", deployment_id="three")]
    for record in (NIGHTLY, *others):
        store.save_schedule(record)
    assert store.schedule("app", "alice", "nightly") == NIGHTLY == store.schedule_of("id of one")
    assert store.schedule("app", "alice", "weekly") is None and store.schedule_of("four") is None
    assert [record.user for record in store.schedules("app")] == ["alice", "bob"]
    assert store.schedules(user="bob") == [others[0]]
    assert len(store.schedules()) == 3


def test_a_schedule_is_replaced_and_deleted(store: Store) -> None:
    store.save_schedule(NIGHTLY)
    changed = replace(NIGHTLY, timing={"interval": 60.0}, parameters={"deep": {"er": [1, None]}}, deployment_id="new")
    store.save_schedule(changed)
    assert store.schedules() == [changed]
    store.delete_schedule(changed)
    store.delete_schedule(changed)
    assert store.schedules() == []


def test_the_longest_names_in_any_script(store: Store) -> None:
    long = replace(
        NIGHTLY,
        label="a" * 255,
        user="\N{CJK UNIFIED IDEOGRAPH-6CB3}" * 255,
        name="\N{CJK UNIFIED IDEOGRAPH-6CB3}" * 1024,
    )
    store.save_schedule(long)
    assert store.schedule(long.label, long.user, long.name) == long
