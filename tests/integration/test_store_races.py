"""Many at once, in threads and in processes, on both databases: no write is lost, nothing is done twice."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from sqlalchemy import Connection, event, text

from prefect_jobs.errors import JobStateError
from prefect_jobs.records import Change, JobRecord, Written
from prefect_jobs.store import Database, Store
from tests.support import draft, eventually, race

T = TypeVar("T")

RUNNERS, ROUNDS = 2, 25

COUNT = """
from prefect_jobs.records import Change
from prefect_jobs.store import Database, Store

me, rounds = f"runner{os.environ['RUNNER']}", int(os.environ["ROUNDS"])
database = Database(os.environ["DATABASE_URL"])
store = Store(database)
job_id = int(os.environ["JOB_ID"])

def count(job):
    properties = {**job.extended_properties, "all": job.extended_properties["all"] + 1}
    properties[me] = properties.get(me, 0) + 1
    return Change({"extended_properties": properties}, ((20, me),))

store.get(job_id)
go()
for _ in range(rounds):
    store.update(job_id, count)
database.dispose()
"""

FIRST_USE = """
from prefect_jobs.store import Database, Store

database = Database(os.environ["DATABASE_URL"])
go()
print(Store(database).identity)
database.dispose()
"""


def at_once(work: Callable[[int], T], threads: int = 4) -> list[T]:
    """What ``work`` returns in each of several threads that begin together."""
    barrier = Barrier(threads)

    def begin(number: int) -> T:
        barrier.wait(10)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(begin, range(threads)))


def test_no_write_of_two_threads_is_lost(store: Store) -> None:
    job = store.insert(draft(extended_properties={"all": 0}))

    def write(number: int) -> None:
        for _ in range(ROUNDS):
            store.update(job.id, lambda fresh: counted(fresh, f"runner{number}"))

    def counted(fresh: JobRecord, me: str) -> Change:
        found = fresh.extended_properties
        return Change({"extended_properties": {**found, "all": found["all"] + 1, me: found.get(me, 0) + 1}})

    at_once(write, RUNNERS)

    found = store.get(job.id)
    assert found is not None
    assert found.extended_properties == {"all": RUNNERS * ROUNDS, "runner0": ROUNDS, "runner1": ROUNDS}
    assert found.version == 1 + RUNNERS * ROUNDS


def test_no_write_of_two_processes_is_lost(store: Store, database_url: str) -> None:
    job = store.insert(draft(extended_properties={"all": 0}))

    race(COUNT, runners=RUNNERS, DATABASE_URL=database_url, JOB_ID=str(job.id), ROUNDS=str(ROUNDS))

    found = store.get(job.id)
    assert found is not None
    assert found.extended_properties == {"all": RUNNERS * ROUNDS, "runner0": ROUNDS, "runner1": ROUNDS}
    assert found.version == 1 + RUNNERS * ROUNDS
    assert len(store.messages(job.id)) == RUNNERS * ROUNDS


def test_an_empty_database_gets_one_schema_and_one_identity_whoever_is_first(empty_database_url: str) -> None:
    identities = race(FIRST_USE, runners=3, DATABASE_URL=empty_database_url)

    assert len(set(identities)) == 1
    database = Database(empty_database_url)
    assert [Store(database).identity] == identities[0].split()
    database.dispose()


def test_new_jobs_of_many_threads_all_get_an_id_of_their_own(store: Store) -> None:
    found = at_once(lambda number: [store.insert(draft(f"{number} {{id}}", groups=("a",))) for _ in range(10)])

    jobs = [job for some in found for job in some]
    assert len({job.id for job in jobs}) == 40
    assert all(job.name.endswith(f" {job.id}") for job in jobs)


def test_one_of_many_gets_the_results(store: Store) -> None:
    job = store.insert(draft())

    assert sum(at_once(lambda number: store.claim_results(job.id, f"owner {number}", 60))) == 1


def test_no_face_is_claimed_twice(store: Store) -> None:
    jobs = {store.insert(draft()).id for _ in range(30)}

    def claim(number: int) -> list[int]:
        mine: list[int] = []
        while found := [job.id for job in store.claim_faces(f"owner {number}", 60, 4) if job.id not in mine]:
            mine.extend(found)
        return mine

    claimed = at_once(claim)

    everything = [job_id for mine in claimed for job_id in mine]
    assert len(everything) == len(set(everything))
    assert set(everything) <= jobs


def test_a_flow_run_noted_while_its_job_is_deleted_is_not_forgotten(store: Store, database_url: str) -> None:
    # Given: somebody notes the flow run of a job, and has not committed yet.
    job = store.insert(draft())
    other = Database(database_url)
    with ThreadPoolExecutor(1) as pool:
        with other.writing() as connection:
            connection.execute(text("UPDATE jobs SET flow_run_id = 'run' WHERE id = :id"), {"id": job.id})
            # When: the job is deleted just then.
            deletion = pool.submit(store.delete, job.id)
            eventually(lambda: deletion.running() or deletion.done(), "the deletion has begun")
            waited = not deletion.done()
        # Then: the deletion sees it.
        assert deletion.result(20)
    other.dispose()

    assert waited
    assert store.run_deletions() == ["run"]


def test_a_reader_is_not_held_up_by_a_writer(store: Store, database_url: str) -> None:
    job = store.insert(draft())
    other = Database(database_url)
    with other.writing() as connection:
        connection.execute(text("UPDATE jobs SET description = 'not yet' WHERE id = :id"), {"id": job.id})

        assert store.get(job.id) == job

    other.dispose()
    found = store.get(job.id)
    assert found is not None
    assert found.description == "not yet"


def test_deletion_and_change_at_once_leave_one_answer(store: Store) -> None:
    job = store.insert(draft(extended_properties={"text": json.dumps("x")}))

    def either(number: int) -> str:
        try:
            if number == 0:
                return f"deleted {store.delete(job.id)}"
            store.update(job.id, lambda _: Change({"description": "new"}))
        except Exception as error:
            return type(error).__name__
        return "changed"

    first, second = at_once(either, 2)

    assert first == "deleted True"
    assert second in ("changed", "JobGone")
    assert store.get(job.id) is None


def test_of_many_known_records_those_that_another_process_has_written_are_read_again(store: Store) -> None:
    # given
    old, gone, present = (store.insert(draft(name)) for name in ("old", "gone", "present"))
    store.update(old.id, lambda _: Change({"description": "by another"}))
    store.delete(gone.id)
    known = {record.id: record for record in (old, gone, present)}

    def change(record: JobRecord) -> Change:
        if record.name == "old" and not record.description:
            raise JobStateError("refused for the old record alone")
        return Change({"workspace": f"/{record.description}"}, messages=((20, record.name),))

    # when
    first, second, third = store.update_all([(record.id, change) for record in known.values()], known)
    # then
    assert isinstance(first, Written) and first.after.workspace == "/by another" and first.before.version == 2
    assert isinstance(second, JobStateError) and isinstance(third, Written) and third.after.version == 2
    assert [[each.text for each in store.messages(record.id)] for record in (old, present)] == [["old"], ["present"]]


def test_many_that_another_process_has_written_are_written_together_again(store: Store) -> None:
    # given jobs that are shown after they were read
    known = {record.id: record for record in (store.insert(draft(str(number))) for number in range(20))}
    for job_id in known:
        store.update(job_id, lambda _: Change({"description": "by another"}))
    commits: list[bool] = []

    def note(connection: Connection) -> None:
        commits.append(bool(connection.get_execution_options().get("write")))

    event.listen(store.database.engine, "commit", note)
    # when
    found = store.update_all([(job_id, lambda _: Change({"workspace": "/here"})) for job_id in known], known)
    # then by one transaction that finds it, and one on fresh records
    event.remove(store.database.engine, "commit", note)
    assert sum(commits) == 2
    assert [(one.after.version, one.after.workspace) for one in found if isinstance(one, Written)] == 20 * [
        (3, "/here")
    ]
