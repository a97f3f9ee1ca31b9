"""What the client makes of what its transport says, whichever transport that is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.schedulers.condor.access import Access, Question, Transport
from prefect_jobs.schedulers.condor.client import Cluster, CondorClient, CondorError, CondorRefusal, Submission
from prefect_jobs.schedulers.condor.transport import transport_for

ASK: list[Callable[[CondorClient], object]] = [
    lambda client: client.query("true"),
    lambda client: client.history("true"),
    lambda client: client.edit("true", "Priority", "1"),
    lambda client: client.act("Hold", "true", "a test"),
    lambda client: client.dagman(),
    lambda client: client.check(),
]
NAMES = ["query", "history", "edit", "act", "dagman", "check"]
TRANSFER: list[Callable[[CondorClient], object]] = [
    lambda client: client.submit("", 1, spool=True),
    lambda client: client.retrieve("true"),
]


class FakeTransport:
    """Answers questions unless they are to fail, and fails transfers as it is told."""

    def __init__(self, asking: Exception | None = None, transferring: Exception | None = None) -> None:
        self.asking = asking
        self.transferring = transferring
        self.asked: list[str] = []

    def ask(self, question: Question, args: Mapping[str, Any], timeout: float) -> Any:
        self.asked.append(question)
        if self.asking is not None:
            raise self.asking
        return []

    def submit(self, submission: Submission, timeout: float) -> Cluster:
        if self.transferring is not None:
            raise self.transferring
        return Cluster(1, submission.count, "schedd")

    def submit_all(self, submissions: Sequence[Submission], timeout: float) -> list[Cluster | PrefectJobsError]:
        return [self.submit(one, timeout) for one in submissions]

    def retrieve(self, constraint: str, timeout: float) -> None:
        if self.transferring is not None:
            raise self.transferring

    def close(self) -> None:
        self.asked.append("close")


def client_of(transport: Transport) -> CondorClient:
    return CondorClient(Access("there", token="t"), transport=transport)


@pytest.mark.parametrize("ask", ASK, ids=NAMES)
def test_a_question_that_fails_on_the_way_tells_nothing(ask: Callable[[CondorClient], object]) -> None:
    failure = CondorError("there: the helper ended")
    with pytest.raises(SchedulerConnectionError, match="the helper ended") as caught:
        ask(client_of(FakeTransport(failure)))
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("ask", ASK, ids=NAMES)
@pytest.mark.parametrize("error", [CondorRefusal("no"), SchedulerConnectionError("away")], ids=["refused", "away"])
def test_a_refusal_and_an_absence_are_told_as_they_are(
    ask: Callable[[CondorClient], object], error: PrefectJobsError
) -> None:
    with pytest.raises(type(error)) as caught:
        ask(client_of(FakeTransport(error)))
    assert caught.value is error


@pytest.mark.parametrize("transfer", TRANSFER, ids=["submit", "retrieve"])
def test_a_transfer_that_fails_on_the_way_may_have_been_done(transfer: Callable[[CondorClient], object]) -> None:
    with pytest.raises(CondorError) as caught:
        transfer(client_of(FakeTransport(transferring=CondorError("half way"))))
    assert not isinstance(caught.value, SchedulerConnectionError)


@pytest.mark.parametrize("transfer", TRANSFER, ids=["submit", "retrieve"])
def test_no_transfer_begins_before_the_access_point_has_answered(transfer: Callable[[CondorClient], object]) -> None:
    transport = FakeTransport(CondorError("away"), transferring=AssertionError("begun"))
    with pytest.raises(SchedulerConnectionError, match="away"):
        transfer(client_of(transport))


def test_who_has_just_answered_is_not_asked_again_before_a_transfer() -> None:
    transport = FakeTransport()
    client = client_of(transport)
    client.query("true")
    client.submit("", 1, spool=True)
    assert transport.asked == ["query"]


def test_many_submissions_fail_each_as_one_does() -> None:
    lost = CondorError("half way")
    submissions = [Submission("", 1, True)] * 60
    assert client_of(FakeTransport(transferring=lost)).submit_all(submissions) == [lost] * 60
    assert client_of(FakeTransport()).submit_all(submissions) == [Cluster(1, 1, "schedd")] * 60


def test_without_a_transport_for_ssh_every_request_says_so() -> None:
    transport = transport_for(Access("there", username="alice"))
    requests: list[Callable[[], object]] = [
        lambda: transport.ask("query", {}, 1),
        lambda: transport.submit(Submission("", 1, True), 1),
        lambda: transport.submit_all([], 1),
        lambda: transport.retrieve("true", 1),
    ]
    for request in requests:
        with pytest.raises(SchedulerConnectionError, match="by token only"):
            request()
    transport.close()
