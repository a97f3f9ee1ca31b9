"""The projector's queue: what is due when, and who waits for it how long."""

import threading
import time

from prefect_jobs.projection.work_queue import WorkQueue


def test_what_is_added_is_due_in_its_order_and_time() -> None:
    queue = WorkQueue()
    queue.add([3, 1])
    queue.add([2], delay=60)
    batch = queue.take()
    assert batch is not None
    assert batch.jobs == [3, 1]
    assert batch.sweep
    assert not batch.logs


def test_an_earlier_moment_counts() -> None:
    queue = WorkQueue()
    queue.add([1])
    queue.add([1], delay=60)
    batch = queue.take()
    assert batch is not None
    assert batch.jobs == [1]


def test_a_closed_queue_gives_nothing() -> None:
    queue = WorkQueue()
    queue.add([1])
    queue.close()
    assert queue.take() is None
    queue.open()
    assert queue.take() is not None


def test_a_job_that_is_behind_again_is_due_again() -> None:
    queue = WorkQueue()
    queue.add([1, 2])
    queue.shown([1, 2], behind={2})
    assert queue.wait([1], 0)
    assert not queue.wait([1, 2], 0)


def test_who_waits_for_what_failed_is_told_at_once_that_it_is_not_shown() -> None:
    queue = WorkQueue()
    queue.add([1, 2])
    batch = queue.take()
    assert batch is not None
    queue.shown([2], behind=())
    queue.failed(batch)
    began = time.monotonic()
    assert not queue.wait([1], 30)
    assert queue.wait([2], 30)
    assert not queue.flush(30)
    assert time.monotonic() - began < 10
    # and after the next try, that it is
    queue.shown([1], behind=())
    assert queue.wait([1], 0)
    assert queue.flush(0)


def test_what_failed_does_not_keep_the_end_from_waiting_for_the_rest() -> None:
    queue = WorkQueue()
    queue.add([1])
    batch = queue.take()
    assert batch is not None
    queue.failed(batch)
    queue.add([2])
    shown = threading.Event()

    def show() -> None:
        batch = queue.take()
        assert batch is not None and batch.jobs == [2]
        shown.set()
        queue.shown([2], behind=())

    thread = threading.Thread(target=show)
    thread.start()
    assert not queue.flush(30)  # of 1, which failed
    assert shown.is_set()
    thread.join()


def test_who_asks_again_for_what_failed_waits_for_the_next_try() -> None:
    queue = WorkQueue()
    queue.add([1])
    batch = queue.take()
    assert batch is not None
    queue.failed(batch)
    queue.add([1])
    again = queue.take()
    assert again is not None
    assert again.jobs == [1]


def test_while_prefect_is_away_not_all_is_shown_and_nobody_waits() -> None:
    queue = WorkQueue()
    queue.add([1])
    queue.lost(OSError("gone"))
    began = time.monotonic()
    assert not queue.flush(30)
    assert not queue.wait([1], 30)
    assert time.monotonic() - began < 10
    # what others marked may wait, too
    queue.shown([1], behind=())
    assert not queue.flush(30)
    queue.answered()
    assert queue.flush(30)


def test_patience_is_spent_once() -> None:
    queue = WorkQueue()
    queue.add([1])
    assert not queue.wait([1], 0.01)
    began = time.monotonic()
    assert not queue.wait([1], 30)
    assert time.monotonic() - began < 10


def test_nodes_have_turns() -> None:
    queue = WorkQueue()
    queue.add_nodes([1])
    queue.add_nodes([2])
    assert queue.next_nodes() == 1
    queue.nodes_shown(1, 0.0)
    assert queue.next_nodes() == 2
    queue.nodes_shown(2, None)
    assert queue.next_nodes() == 1
    assert not queue.flush(0)
    queue.nodes_failed(1)
    assert not queue.flush(30)
    queue.nodes_shown(1, None)
    assert queue.flush(0)


def test_log_lines_that_could_not_be_sent_stay_due() -> None:
    queue = WorkQueue()
    queue.add_logs({1, 2})
    assert queue.take_logs() == {1, 2}
    queue.logs_left({1, 2})
    batch = queue.take()
    assert batch is not None
    queue.failed(batch)
    assert not queue.flush(30)
    assert queue.take_logs() == {1, 2}
    queue.logs_sent()
    assert queue.flush(0)
