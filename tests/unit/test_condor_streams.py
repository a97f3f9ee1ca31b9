"""Streamed output is added to the outputs once, however often it is fetched: a second time would lose the others."""

from typing import Any

from prefect_jobs.schedulers.condor import helper
from prefect_jobs.schedulers.condor.submit import streams
from tests.classads import ClassAd, ExprTree


class Schedd:
    """Has one proc; what is edited in its ad is an expression from then on."""

    def __init__(self) -> None:
        self.ad = ClassAd()
        values: dict[str, Any] = {
            "ProcId": 0,
            "StreamOut": True,
            "StreamErr": False,
            "Out": streams.flat_name("logs/o"),
        }
        self.ad.update({**values, "SpooledOutputFiles": "a.txt,b.txt"})
        self.edits: list[str] = []

    def query(self) -> list[dict[str, Any]]:
        return [helper._plain(self.ad)]

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        self.edits.append(value)
        self.ad[attribute] = ExprTree(value)
        return 1


def test_a_second_fetch_keeps_the_other_outputs() -> None:
    schedd = Schedd()
    for _ in range(2):
        streams.add(schedd, "true", schedd.query())  # type: ignore[arg-type]
    assert schedd.edits == ['strcat("a.txt,b.txt", ",", Out)']
    assert schedd.ad.eval("SpooledOutputFiles") == f"a.txt,b.txt,{streams.flat_name('logs/o')}"
