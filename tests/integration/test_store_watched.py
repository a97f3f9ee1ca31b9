"""The jobs that are not final, on both databases alike: each read tells what has changed since the last one."""

from dataclasses import replace

from prefect_jobs import clock
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.store import Store
from prefect_jobs.store.watched import WatchedJobs
from prefect_jobs.transition import News, Source, transition
from tests.integration.test_store_queries import statements
from tests.support import draft


def ids(jobs: list[object]) -> list[int]:
    return sorted(job.id for job in jobs)  # type: ignore[attr-defined]


def told(jobs: WatchedJobs) -> tuple[list[int], list[int]]:
    changed, gone = jobs.read()
    return ids(list(changed)), ids(list(gone))


def end(record: JobRecord) -> Change:
    return Change({"state": transition(record.state, News(Source.HAND, "Aborted"), clock.now())})


def test_each_read_tells_what_has_changed(store: Store) -> None:
    # given jobs in several parts of the table
    made = store.insert_all([draft(name=f"job {number}") for number in range(600)])
    first, middle, last = made[0].id, made[300].id, made[-1].id
    jobs = WatchedJobs(store)
    # when, then
    assert told(jobs) == ([record.id for record in made], [])
    assert told(jobs) == ([], [])
    assert len(jobs) == len(list(jobs.all())) == 600
    # when one is written, another one ends, and a third one is deleted
    store.update(first, lambda _: Change({"description": "written"}))
    store.update(middle, end)
    store.delete(last)
    # then
    assert told(jobs) == ([first], [middle, last])
    assert told(jobs) == ([], [])
    assert len(jobs) == 598 and [job.id for job in store.watched()] == sorted(job.id for job in jobs.all())


def test_one_that_takes_the_place_of_another_is_seen(store: Store) -> None:
    one = store.insert(draft())
    jobs = WatchedJobs(store)
    jobs.read()
    store.delete(one.id)
    other = store.insert(draft())
    assert told(jobs) == ([other.id], [one.id])


def test_one_that_goes_to_another_scheduler_leaves_the_first(store: Store) -> None:
    job = store.insert(replace(draft(), scheduler="here"))
    jobs = WatchedJobs(store)
    jobs.read()
    store.update(job.id, lambda _: Change({"scheduler": "there"}))
    changed, gone = jobs.read()
    assert [each.scheduler for each in changed] == ["there"]
    assert [each.scheduler for each in gone] == ["here"]


def test_without_news_no_job_is_read(store: Store) -> None:
    store.insert_all([draft() for _ in range(300)])
    jobs = WatchedJobs(store)
    jobs.read()
    with statements(store) as seen:
        assert jobs.read() == ([], [])
    assert len([text for text in seen if text.lstrip().upper().startswith("SELECT")]) == 1
