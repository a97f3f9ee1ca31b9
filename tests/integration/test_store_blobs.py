"""Bytes that belong to a job, on both databases alike."""

import pytest
from sqlalchemy import func, select

from prefect_jobs.records import Change, Written
from prefect_jobs.store import Store
from prefect_jobs.store.errors import JobGone
from prefect_jobs.store.tables import BLOBS
from tests.support import draft


def rows(store: Store) -> int:
    with store.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(BLOBS)).scalar_one()


def test_bytes_are_kept_by_job_and_kind_and_replaced(store: Store) -> None:
    # given
    one, other = store.insert(draft("one")), store.insert(draft("other"))
    assert store.get_blob(one.id, "result") is None
    # when
    store.put_blob(one.id, "result", b"first")
    store.put_blob(one.id, "graph", b"\0\xff")
    store.put_blob(other.id, "result", b"")
    store.put_blob(one.id, "result", b"second")
    # then
    assert store.get_blob(one.id, "result") == b"second"
    assert store.get_blob(one.id, "graph") == b"\0\xff"
    assert store.get_blob(other.id, "result") == b""
    assert rows(store) == 3


def test_a_kind_is_removed_and_the_others_stay(store: Store) -> None:
    job = store.insert(draft())
    store.put_blob(job.id, "result", b"r")
    store.put_blob(job.id, "graph", b"g")
    store.delete_blob(job.id, "result")
    store.delete_blob(job.id, "result")
    assert store.get_blob(job.id, "result") is None and store.get_blob(job.id, "graph") == b"g"


def test_they_go_with_their_job(store: Store) -> None:
    job, other = store.insert(draft()), store.insert(draft())
    store.put_blob(job.id, "result", b"r")
    store.put_blob(other.id, "result", b"o")
    store.delete(job.id)
    assert rows(store) == 1 and store.get_blob(other.id, "result") == b"o"
    with pytest.raises(JobGone):
        store.put_blob(job.id, "result", b"late")


def test_five_megabytes_come_back_as_they_were(store: Store) -> None:
    job = store.insert(draft())
    data = bytes(range(256)) * 20_480
    store.put_blob(job.id, "result", data)
    assert store.get_blob(job.id, "result") == data


def test_they_are_written_with_a_change_or_not_at_all(store: Store) -> None:
    job, other = store.insert(draft()), store.insert(draft())
    store.put_blob(job.id, "graph", b"old")
    # when one change is refused, in the transaction of another
    bad = Change({"spec": {"key": object()}}, blobs={"graph": b"never"})
    changes = [(job.id, lambda _: Change(blobs={"graph": b"new"})), (other.id, lambda _: bad)]
    written, refused = store.update_all(changes)
    # then
    assert isinstance(written, Written) and written.after.version == 2
    assert isinstance(refused, ValueError)
    assert store.get_blob(job.id, "graph") == b"new" and store.get_blob(other.id, "graph") is None
