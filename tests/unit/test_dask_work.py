"""Dask's side of a job without a cluster: what is taken apart and put together, and values as bytes."""

import threading
from typing import Any

import pytest
from dask import bag, base
from dask.delayed import delayed

from prefect_jobs.schedulers.dask import values, work
from prefect_jobs.schedulers.dask.connection import DaskError
from prefect_jobs.schedulers.dask.work import Work

bags: Any = bag
compute: Any = base.compute


def double(value: int) -> int:
    return 2 * value


A, B, C = (delayed(double)(number) for number in (1, 2, 3))


class Stubborn:
    """Pickles, and cannot be made again."""

    def __reduce__(self) -> Any:
        return (_fail, ())


def _fail() -> None:
    raise RuntimeError("not here")


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


@pytest.mark.parametrize(
    "given",
    [
        A,
        [A],
        (A, B),
        {"a": A, 2: [B, (C,)]},
        [[], A, {}, ()],
        bags.from_sequence([1, 2]),
        [[[A]], [B, [C]], A],
    ],
)
def test_what_is_taken_apart_is_put_together_again(given: Any) -> None:
    taken = work.take_apart(given)
    assert work.size(taken.shape) == len(taken.leaves)
    assert repr(work.put_together(taken.shape, lambda number: taken.leaves[number])) == repr(given)


def test_the_shape_is_json_that_keeps_numbers_as_keys() -> None:
    import json

    taken = work.take_apart({2: A, "2": (B,)})
    shape = json.loads(json.dumps(taken.shape))
    assert work.put_together(shape, lambda number: number) == {2: 0, "2": (1,)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "It is int"),
        (None, "It is NoneType"),
        ([A, [B, "x"]], r"It\[1\]\[1\] is str"),
        ({"a": (A, 3.5)}, r"It\['a'\]\[1\] is float"),
        ({A, B}, "It is set"),
        ([], "nothing to compute"),
        ({"a": [(), {}]}, "nothing to compute"),
        ({("a", 1): A}, "keys of a dict"),
        ({True: A}, "keys of a dict"),
    ],
)
def test_what_is_not_dasks_is_refused_by_its_place(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        work.take_apart(given)


@pytest.mark.parametrize("value", [None, 0, "ä", b"\0" * 5_000_000, [1, {"a": (2, None)}], {1.5, 2.5}, range(3)])
def test_values_come_back_from_bytes(value: Any) -> None:
    assert values.result_from_bytes(values.result_to_bytes(value)) == value


def test_objects_come_back_from_bytes() -> None:
    assert values.result_from_bytes(values.result_to_bytes([Point(3)]))[0].x == 3


def test_what_cannot_be_serialised_is_told_by_its_type() -> None:
    with pytest.raises(DaskError, match=r"a lock, cannot be serialised.*pickle"):
        values.result_to_bytes(threading.Lock())


def test_what_cannot_be_read_here_says_so() -> None:
    data = values.result_to_bytes(Stubborn())
    with pytest.raises(DaskError, match=r"cannot be read in this process: not here\. It needs the modules"):
        values.result_from_bytes(data)
    with pytest.raises(DaskError, match="cannot be read"):
        values.result_from_bytes(b"nonsense")


def test_work_comes_back_from_bytes_and_computes() -> None:
    taken = work.take_apart({"a": A, "b": [B, delayed(lambda x: x + 1)(C)]})
    kept = values.work_from_bytes(values.work_to_bytes(taken, 100_000).data)
    assert kept.shape == taken.shape
    assert compute(*kept.leaves, scheduler="synchronous") == (2, 4, 7)


def test_work_that_is_too_large_or_cannot_be_pickled_keeps_its_shape_alone() -> None:
    large = work.take_apart([delayed(len)(b"x" * 10_000)])
    locked = work.take_apart([delayed(str)(threading.Lock())])
    for taken, problem in ((large, "MiB are kept"), (locked, "cannot be pickled: TypeError")):
        kept = values.work_to_bytes(taken, 5_000)
        assert values.work_from_bytes(kept.data) == Work([], {"list": [{"leaf": 0}]})
        assert kept.problem is not None
        assert problem in kept.problem
    assert values.work_to_bytes(large, 100_000).problem is None


def test_work_that_cannot_be_read_again_is_an_error() -> None:
    with pytest.raises(DaskError, match="cannot be read again"):
        values.work_from_bytes(b"nonsense")
