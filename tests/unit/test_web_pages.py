"""Pages, API and actions of the web part, with fake schedulers."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from prefect_jobs import CondorJob, CondorWorkflow, CondorWorkflowJobNode, Job, JobManager, statuses
from prefect_jobs.jobs import polling
from prefect_jobs.records import Change, NodeRecord
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.testing import FakeSchedulers
from prefect_jobs.web import ansi, graph, logs, looks
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_web_access import PROGRAM, make, manager, token, visitor

__all__ = ["make", "manager", "schedulers"]
HOSTILE = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture
def alice() -> TestClient:
    return visitor("alice")


def test_pages_are_safe_whatever_jobs_are_called(make: Callable[..., Job], alice: TestClient) -> None:
    job = make(HOSTILE, description=HOSTILE, extended_properties={HOSTILE: HOSTILE})
    job.update_status(HOSTILE, message=HOSTILE)
    for address in ("/", f"/jobs/{job.id}/", f"/jobs/{job.id}/details", f"/jobs/{job.id}/logs/", f"/?q={HOSTILE}"):
        answer = alice.get(address, params={"name": HOSTILE} if "logs" in address else None)
        assert "<img" not in answer.text and "alert(1)>\"'" not in answer.text, address
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert "<script>" not in answer.text and " style=" not in answer.text and " onclick=" not in answer.text
    assert alice.get("/api/jobs").json()["jobs"][0]["name"] == HOSTILE


def test_the_list_is_filtered_ordered_and_paged(make: Callable[..., Job], alice: TestClient) -> None:
    jobs = [make(f"job {number}", description="odd" if number % 2 else "even") for number in range(7)]
    jobs[0].update_status("Error", message="no rain")
    jobs[1].update_status("Calibrating")

    def found(query: str) -> list[str]:
        return [job["name"].removeprefix("job ") for job in alice.get(f"/api/jobs?{query}").json()["jobs"]]

    assert found("order_by=name&limit=3") == ["0", "1", "2"] and found("order_by=-name&offset=5") == ["1", "0"]
    assert found("status=Error") == ["0"] == found("status=ERR") == found("q=RAIN")
    assert "0" in found(f"q={jobs[0].id}")
    assert found("status=Error&status=Calibrating") == ["1", "0"] == found("status__in=Error,Calibrating")
    assert found("not__status=Pending") == ["1", "0"] and found("description=odd&not__name=job+1") == ["5", "3"]
    assert found("app=floods&type=CondorJob&name__contains=6") == ["6"] and found("app=other") == []
    assert found("creation_time__lt=2001-01-01") == [] and len(found("creation_time__gte=2001-01-01")) == 7
    answer = alice.get("/api/jobs?limit=2&status=Pending").json()
    assert (answer["count"], answer["totals"]) == (5, {"Pending": 5, "Error": 1, "Calibrating": 1})
    seen = answer["jobs"]
    while answer["next"]:
        answer = alice.get(answer["next"]).json()
        seen += answer["jobs"]
    assert [job["name"] for job in seen] == [f"job {number}" for number in (6, 5, 4, 3, 2)]
    page = alice.get("/?status=Pending&limit=2&page=2").text
    assert "3–4 of 5" in page and 'rel="prev"' in page and 'rel="next"' in page and "Calibrating <b>1</b>" in page
    table = alice.get("/api/jobs.csv?order_by=id").text.splitlines()
    assert table[0].startswith("id,name,") and len(table) == 8


def test_the_same_answer_is_not_sent_twice(make: Callable[..., Job], alice: TestClient) -> None:
    job = make("mine")
    first = alice.get(f"/api/jobs/{job.id}")
    again = alice.get(f"/api/jobs/{job.id}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content
    job.execute()
    assert alice.get(f"/api/jobs/{job.id}", headers={"If-None-Match": first.headers["etag"]}).status_code == 200


def test_columns_are_chosen_and_remembered(make: Callable[..., Job], alice: TestClient) -> None:
    make("mine", description="of the river")

    def headings(address: str) -> list[str]:
        head = alice.get(address).text.split("<thead>")[1].split("</thead>")[0]
        return [name.strip() for name in re.findall(r"<th scope=\"col\"[^>]*>\s*(?:<a [^>]*>)?([\w ]+)", head)]

    default = ["Id", "Name", "User", "Created", "Run time", "Status", "Actions"]
    assert headings("/") == default
    chosen = ["Id", "Description", "Status", "Actions"]
    assert (
        headings("/?columns=description&columns=id&columns=nothing") == chosen == headings("/") == headings("/?q=mine")
    )
    alice.cookies.set("prefect_jobs_columns", "x.<b>")
    alice.cookies.clear()
    assert headings("/") == default


def test_pages_are_small_on_the_wire(make: Callable[..., Job], alice: TestClient) -> None:
    for number in range(50):
        make(f"job {number}")
    style = ["/static/x/jobs.css", "/static/x/jobs.js"]
    sizes = [int(alice.get(address).headers["content-length"]) for address in ("/", *style)]
    assert alice.get("/").headers["content-encoding"] == "gzip" and sum(sizes) < 100_000


def test_a_spreadsheet_takes_no_name_for_a_formula(make: Callable[..., Job], alice: TestClient) -> None:
    make("=HYPERLINK(1)")
    assert ",'=HYPERLINK(1)," in alice.get("/api/jobs.csv").text


def test_each_action_does_what_it_says(make: Callable[..., Job], alice: TestClient, schedulers: FakeSchedulers) -> None:
    job = make("mine")
    headers = token(alice)

    def act(name: str, **given: Any) -> tuple[int, Any]:
        answer = alice.post(f"/api/jobs/{job.id}/actions/{name}", json=given, headers=headers)
        body = answer.json()
        return answer.status_code, body.get("status") if answer.status_code == 200 else body["detail"]

    assert act("terminate") == (409, "The job was not submitted yet.")
    assert act("resubmit") == (409, "The job was not submitted yet. Run it.")
    assert act("run") == (200, "Submitted")
    assert act("delete") == (409, "The job is 'Submitted'. Terminate it first.")
    job.handle.refresh()
    schedulers.run(job)
    polling.poll_once(job)
    assert act("run")[0] == 409 and act("pause") == (200, "Paused") and act("resume")[0] == 200
    assert act("terminate") == (200, "Aborted")
    assert act("resubmit") == (200, "Submitted")
    assert act("terminate")[0] == 200 and act("nothing")[0] == 404 and act("custom/nothing")[0] == 404
    history = alice.get(f"/api/jobs/{job.id}").json()["history"]
    assert {"Aborted", "Submitted"} <= {entry["status"] for entry in history}
    with schedulers.away():
        status, text = act("resubmit")
    assert status == 502 and text
    assert alice.post(f"/api/jobs/{job.id}/actions/delete", headers=headers).json() == {"id": job.id, "deleted": True}
    assert alice.get(f"/api/jobs/{job.id}").status_code == 404


def test_forms_ask_and_lead_back(make: Callable[..., Job], alice: TestClient) -> None:
    job = make("mine")
    job.execute()
    form = {"csrf_token": token(alice)["X-CSRF-Token"], "next": "/?status=Submitted"}
    asked = alice.post(f"/jobs/{job.id}/actions/terminate", data=form)
    assert asked.status_code == 200 and "Are you sure you want to terminate this job?" in asked.text
    assert alice.get(f"/api/jobs/{job.id}").json()["status"] == "Submitted"
    done = alice.post(f"/jobs/{job.id}/actions/terminate", data={**form, "confirmed": "1"})
    assert (done.status_code, done.headers["location"]) == (303, "/?status=Submitted")
    assert alice.get(f"/api/jobs/{job.id}").json()["status"] == "Aborted"
    again = alice.post(f"/jobs/{job.id}/actions/terminate", data={**form, "confirmed": "1"})
    assert again.status_code == 409 and "<h1>Conflict</h1>" in again.text
    for elsewhere in ("//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"):
        sent = alice.post(f"/jobs/{job.id}/actions/resubmit", data={**form, "next": elsewhere, "confirmed": "1"})
        assert sent.headers["location"] == "/"
        alice.post(f"/jobs/{job.id}/actions/terminate", data={**form, "confirmed": "1"})
    gone = alice.post(f"/jobs/{job.id}/actions/delete", data={**form, "next": f"/jobs/{job.id}/", "confirmed": "1"})
    assert gone.headers["location"] == "/"


def test_many_jobs_at_once(make: Callable[..., Job], alice: TestClient) -> None:
    jobs = [make(f"job {number}") for number in range(3)]
    for job in jobs[:2]:
        job.execute()
    form = {"csrf_token": token(alice)["X-CSRF-Token"], "ids": [str(job.id) for job in jobs]}
    assert "Terminate 3 jobs?" in alice.post("/actions/terminate", data=form).text
    done = alice.post("/actions/terminate", data={**form, "confirmed": "1"}).text
    assert done.count(": done<") == 2 and "The job was not submitted yet." in done
    nothing = alice.post("/actions/terminate", data={"csrf_token": form["csrf_token"]})
    assert nothing.status_code == 400 and "No job is selected" in nothing.text
    everything = alice.post("/api/actions/delete?status=Aborted", json={"all": True}, headers=token(alice)).json()
    assert [one["done"] for one in everything["results"]] == [True, True]
    assert {one["id"] for one in everything["results"]} == {int(job_id) for job_id in form["ids"][:2]}
    assert (
        "data-totals" in alice.get("/?q=&label=&status=Pending").text and "data-totals" not in alice.get("/?q=x").text
    )
    assert [job["id"] for job in alice.get("/api/jobs").json()["jobs"]] == [jobs[2].id]


def test_files_stay_in_the_directory(
    make: Callable[..., Job], alice: TestClient, schedulers: FakeSchedulers, tmp_path: Path
) -> None:
    job = make("mine", workspace=str(tmp_path / "there"))
    assert isinstance(job, CondorJob)
    job.execute()
    schedulers.finish(job, outputs={"out put.txt": "drawn", "maps/ä.html": "<script>"})
    polling.poll_once(job)
    directory = Path(job.initial_dir)
    (tmp_path / "secret.txt").write_text("secret")
    (directory / "link.txt").symlink_to(tmp_path / "secret.txt")
    (directory / "up").symlink_to(tmp_path)
    (directory / "loop").symlink_to("loop")
    os.mkfifo(directory / "pipe")
    listed = {each["path"]: each for each in alice.get(f"/api/jobs/{job.id}/files").json()["files"]}
    assert listed["out put.txt"]["size"] == 5 and listed["maps"]["folder"]
    inner = alice.get(f"/api/jobs/{job.id}/files?folder=maps").json()["files"]
    assert [each["path"] for each in inner] == ["maps/ä.html"]
    got = alice.get(f"/jobs/{job.id}/files/maps/ä.html")
    assert got.text == "<script>" and got.headers["content-disposition"].startswith("attachment;")
    assert (
        got.headers["content-type"] == "application/octet-stream" and got.headers["x-content-type-options"] == "nosniff"
    )
    for bad in (
        "link.txt", "up/secret.txt", "loop", "pipe", "maps", "nothing", "%2e%2e/%2e%2e/secret.txt", "%2Fetc%2Fpasswd",
        "..%2f..%2fsecret.txt", "a%00b", "x" * 5000,
    ):  # fmt: skip
        answer = alice.get(f"/jobs/{job.id}/files/{bad}")
        assert answer.status_code == 404 and "secret\n" not in answer.text, bad
    for bad in ("..", "/etc", "up", "nothing", "out put.txt"):
        assert alice.get(f"/api/jobs/{job.id}/files", params={"folder": bad}).status_code == 404, bad
    page = alice.get(f"/jobs/{job.id}/").text
    assert "out put.txt" in page and "maps/" in page


def test_logs_come_from_their_ends(make: Callable[..., Job], alice: TestClient, schedulers: FakeSchedulers) -> None:
    job = make("mine")
    assert isinstance(job, CondorJob)
    job.execute()
    address = f"/api/jobs/{job.id}/logs"
    schedulers.finish(job, stdout="ready\n")
    polling.poll_once(job)
    assert {"output", "error", "log"} <= set(alice.get(address).json()["logs"])
    (path,) = [path for path in Path(job.initial_dir).rglob("*.out") if path.read_text() == "ready\n"]
    # given one of 2 GB, most of which is a hole
    with path.open("r+b") as file:
        file.seek(2**31)
        file.write("the end: ü\n".encode())
    part = alice.get(address, params={"name": "output"}).json()
    assert part["text"].endswith("the end: ü\n") and part["end"] == part["length"] == 2**31 + 12 and part["final"]
    assert part["length"] - part["start"] == logs.CHUNK
    before = alice.get(address, params={"name": "output", "before": "6"}).json()
    assert (before["text"], before["start"]) == ("ready\n", 0)
    after = alice.get(address, params={"name": "output", "after": str(part["end"])}).json()
    assert (
        after["text"] == "" and alice.get(address, params={"name": "output", "after": str(2**40)}).json()["text"] == ""
    )
    page = alice.get(f"/jobs/{job.id}/logs/?name=output")
    assert "the end: ü" in page.text and "Earlier" in page.text and len(page.content) < 2 * logs.CHUNK
    path.write_text("short")
    whole = alice.get(f"/jobs/{job.id}/logs/download", params={"name": "output"})
    assert whole.text == "short" and whole.headers["content-disposition"].startswith("attachment;")
    assert alice.get(f"{address}?name=nothing").status_code == 404
    assert alice.get(f"{address}?name=output&before=x").status_code == 400


def test_a_workflow_is_drawn_and_counted(manager: JobManager, alice: TestClient) -> None:
    workflow = manager.create_job("flow", "alice", job_type="CONDORWORKFLOW")
    assert isinstance(workflow, CondorWorkflow)
    workflow.save()
    first, second = (CondorWorkflowJobNode(name, workflow, attributes=PROGRAM) for name in ("first", "second"))
    for node in (first, second):
        node.save()
    second.add_parent(first)
    second.save()
    workflow.save()
    page = alice.get(f"/jobs/{workflow.id}/").text
    assert page.count("<svg") == 1 and page.count('class="pj-node') == 2 and page.count('class="pj-edge"') == 1
    assert f'href="/jobs/{workflow.id}/logs/?name=first%20/%20output"' in page
    (found,) = alice.get("/api/jobs").json()["jobs"]
    assert found["progress"] == {"what": "nodes", "total": 2, "waiting": 2}
    assert "0 of 2 nodes done: 2 waiting" in alice.get("/").text


def test_large_workflows_are_lists() -> None:
    nodes = [NodeRecord(f"n{number}", spec={"parents": [f"n{number - 1}"]}) for number in range(graph.MOST + 1)]
    assert graph.svg(nodes, str) == "" == graph.svg([], str)
    assert graph.svg(nodes[:-1], str).count("<g ") == graph.MOST


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a <b>", "a &lt;b&gt;"),
        ("\x1b[31mred\x1b[0m <", '<span class="pj-c1">red</span> &lt;'),
        ("\x1b[1;92mgo\x1b[22m on\x1b[39m.", '<span class="pj-bold pj-c2">go</span><span class="pj-c2"> on</span>.'),
        ("\x1b[38;5;196mx\x1b[38;2;1;2;3my\x1b[mz", "xyz"),
        ("\x1b[2K\x1b]0;title\x07\x1b[10;20Hx\x1b", "x"),
        ('\x1b[31m"><script>\x1b[0m', '<span class="pj-c1">&#34;&gt;&lt;script&gt;</span>'),
        ("\x1b[" + "1;" * 1000 + "1mx", '<span class="pj-bold">x</span>'),
    ],
)
def test_colours_of_terminals(text: str, html: str) -> None:
    assert ansi.as_html(text) == html


@pytest.mark.parametrize("status", [*statuses.BY_NAME, "Held"])
def test_each_status_has_a_class(status: str) -> None:
    assert looks.status_class(statuses.parse(status)) in looks.ICONS


def test_a_custom_status_looks_as_its_class(make: Callable[..., Job], alice: TestClient) -> None:
    job = make("mine")
    assert looks.status_class(statuses.parse("Calibrating")) == "other"
    job.update_status("Calibrating")
    assert "Calibrating" in alice.get("/").text
    assert looks.status_class(statuses.Status("OTH", "x", statuses.StatusClass(running=True, active=True))) == "running"


def test_the_api_is_described(alice: TestClient, manager: JobManager) -> None:
    document = alice.get("/api/openapi.json").json()
    known = {route.path for route in alice.app.routes if route.path.startswith("/api/")}  # type: ignore[attr-defined]
    described = {path.replace("{name}", "{name:name_of_action}") for path in document["paths"]}
    assert described == known - {"/api/openapi.json"}
    assert json.dumps(document)


def test_the_dashboard_of_dask_is_framed(manager: JobManager, alice: TestClient) -> None:
    job = manager.create_job("sums", "alice", job_type="DASK")
    job.save()
    job.handle.apply(None, native={"dashboard": "http://127.0.0.1:8787/status"})
    page = alice.get(f"/jobs/{job.id}/")
    assert '<iframe src="http://127.0.0.1:8787/status"' in page.text and 'sandbox="allow-scripts' in page.text
    assert "frame-src http: https:" in page.headers["content-security-policy"]


def test_history_names_who_has_pressed(make: Callable[..., Job]) -> None:
    job = make("mine")
    job.execute()
    root = visitor("root", permission=lambda *_: True)
    root.post(f"/api/jobs/{job.id}/actions/terminate", headers=token(root))
    assert get_runtime().jobs.history(job.id or 0)[-1].who == "root"


def test_what_a_job_has_used_and_why_it_waits(
    make: Callable[..., Job], alice: TestClient, schedulers: FakeSchedulers
) -> None:
    job = make("mine", items=[{"year": 2020, "place": "<b>"}, {"year": 2021, "place": "there"}])
    job.execute()
    procs = [
        {
            "proc": number,
            "state": "Completed",
            "exit_code": 0,
            "host": "node1",
            "usage": {**USAGE, "memory": [8000, used]},
        }
        for number, used in enumerate((100, 900))
    ]
    waits = {"attempt": 1, "text": "No slot of 9 is large enough."}
    get_runtime().jobs.update(
        job.id or 0, lambda fresh: Change({"native": {**fresh.native, "procs": procs, "waits": waits}})
    )
    page = alice.get(f"/jobs/{job.id}/").text
    assert "CPUs: 1 of 8, Memory: 1,000 of 16,000 MB; efficiency of the CPUs 12%" in page
    assert "<td>900 of 8,000 MB</td>" in page and "<td>1:40</td>" in page and "No slot of 9 is large enough." in page
    assert "Hint" not in page  # it is not over
    assert "<td>year=2020, place=&lt;b&gt;</td>" in page and "<td>year=2021, place=there</td>" in page
    found = alice.get(f"/api/jobs/{job.id}").json()
    assert found["resources"]["total"]["memory"] == {"requested": 16000, "used": 1000}
    assert found["waits"] == "No slot of 9 is large enough."
    assert "No slot of 9" in alice.get("/").text
    job.handle.refresh()
    job.update_status("Complete")
    page = alice.get(f"/jobs/{job.id}/").text
    assert (
        "request_memory = 1152MB is enough" in page and "request_cpus = 1 is enough" in page and "No slot" not in page
    )


USAGE = {"cpus": [4, 0.5], "wall": 100.0, "cpu": 50.0}
