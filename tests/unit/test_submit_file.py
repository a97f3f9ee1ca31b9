"""Submit files: what is read in them, and what is said of those that cannot be read."""

import os
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.jobs.condor import submit_file
from prefect_jobs.jobs.condor.job import CondorJob
from prefect_jobs.schedulers.condor.submit import file
from prefect_jobs.settings import get_settings
from tests.support import draft


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a submit file beside a program."""
    (tmp_path / "prog.sh").write_text("#!/bin/sh\n")

    def write(text: str) -> Path:
        path = tmp_path / "job.sub"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return path

    return write


def spec_of(path: Path, **more: Any) -> dict[str, Any]:
    return CondorJob.check_spec({**CondorJob.spec_defaults, "submit_file": path, **more})


def test_what_is_given_besides_it_wins(written: Any) -> None:
    path = written("executable = prog.sh\nRequest_Memory = 16\narguments = $(x)\nqueue x in (a b)\n")
    spec = spec_of(path, attributes={"request_memory": "2GB"}, items=[{"x": 1}])
    program = str(path.with_name("prog.sh"))
    assert spec["attributes"] == {"executable": program, "arguments": "$(x)", "request_memory": "2GB"}
    assert spec["items"] == [{"x": "1"}] and spec["num_jobs"] == 1
    assert spec["submit_file"] == str(path) and spec["folder"] == str(path.parent)
    path = written("executable = prog.sh\nqueue 2\n")
    assert spec_of(path, num_jobs=7)["num_jobs"] == 7
    # a file for condor_submit -queue
    assert spec_of(written("executable = prog.sh\n"), num_jobs=3)["num_jobs"] == 3


def test_what_differs_by_statement_is_an_item(written: Any) -> None:
    path = written("executable = prog.sh\nx = a\narguments = $(x) $(Step)\nqueue 2\nx = b\n+Late = 1\nqueue\n")
    found = file.read(path, 10)
    assert found.count == 3 and dict(found.attributes) == {
        "executable": "prog.sh", "x": "$(item_x)", "arguments": "$(x) $(item_step)", "MY.Late": "$(item_My_Late)",
    }  # fmt: skip
    assert found.items == [
        {"item_step": "0", "item_x": "a", "item_My_Late": "undefined"},
        {"item_step": "1", "item_x": "a", "item_My_Late": "undefined"},
        {"item_step": "0", "item_x": "b", "item_My_Late": "1"},
    ]


def test_paths_are_meant_from_its_initial_directory(written: Any, tmp_path: Path) -> None:
    for name in ("run0", "run1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "in.txt").write_text(name)
    path = written(
        "executable = prog.sh\nname = run\ninitialdir = $(name)$(Process)\n"
        f"transfer_input_files = in.txt, {tmp_path}/prog.sh, https://example.org/x\noutput = out.txt\nqueue 2\n"
    )
    spec = spec_of(path)
    assert spec["attributes"]["My.PrefectJobsOutputs"] == '"run$(Process)"' and "initialdir" not in spec["attributes"]
    assert spec["attributes"]["output"] == "run$(Process)/out.txt"
    sent = spec["attributes"]["transfer_input_files"]
    assert sent == f"{tmp_path}/run$(Process)/in.txt, {tmp_path}/prog.sh, https://example.org/x"
    (tmp_path / "run1" / "in.txt").unlink()
    with pytest.raises(ValueError, match=r"run1/in\.txt' .* does not exist"):
        spec_of(path)


def test_modules_beside_it_are_not_ours(written: Any, tmp_path: Path) -> None:
    for name in ("json.py", "re.py", "htcondor2.py"):
        (tmp_path / name).write_text("raise RuntimeError('not our code')\n")
    (tmp_path / "list.sh").write_text('#!/bin/sh\necho "<$PYTHONPATH>"\n')
    (tmp_path / "list.sh").chmod(0o755)
    path = written("executable = prog.sh\nqueue x from ./list.sh |\n")
    assert [item["x"] for item in file.read(path, 10).items] == [f"<{os.environ.get('PYTHONPATH', '')}>"]


def test_commands_in_other_commands_are_what_the_file_says(written: Any, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("")
    spec = spec_of(
        written(
            "cmd = prog.sh\ntransfer_input_files = in.txt\narguments = $(cmd) -i $(Transfer_Input_Files)\n"
            "args = not this\nqueue\n"
        )
    )
    assert spec["attributes"] == {
        "cmd": f"{tmp_path}/prog.sh", "transfer_input_files": f"{tmp_path}/in.txt", "arguments": "prog.sh -i in.txt",
    }  # fmt: skip


def test_names_of_items_stay_apart(written: Any) -> None:
    first = "executable = prog.sh\nx = 5\nTag = x\n+Tag = 1\narguments = $(x) $(Tag)\nqueue\n"
    found = file.read(written(f"{first}Tag = y\n+Tag = 2\nqueue x in (a b)\n"), 10)
    assert [item["x"] for item in found.items] == ["5", "a", "b"]
    assert [item["item_Tag"] for item in found.items] == ["x", "y", "y"]
    assert [item["item_My_Tag"] for item in found.items] == ["1", "2", "2"]


@pytest.mark.parametrize(
    ("queue", "more", "words"),
    [
        ("queue 2 x in (a b)", {"num_jobs": 7}, "line 3: the values of 'x' come from this queue statement"),
        ("queue arguments from prog.sh", {"items": [{"y": 1}]}, "the values of 'arguments' come from"),
        ("queue\nqueue", {"num_jobs": 2}, "has several queue statements"),
        ("n = 2\nqueue $(n)", {"attributes": {"n": "4"}}, "'n' decides what the file says"),
        ("queue Node in (a b)", {}, "HTCondor sets .*Node"),
    ],
)
def test_what_is_not_possible_besides_it(written: Any, queue: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"job.sub.*{words}"):
        spec_of(written(f"executable = prog.sh\narguments = $(x)\n{queue}\n"), **more)


def test_a_schedule_has_what_it_says_now(written: Any, tmp_path: Path) -> None:
    path = written("executable = prog.sh\narguments = $(x)\ninput = $(x).txt\nqueue x in (a b)\n")
    found = CondorJob.portable({"submit_file": path})
    assert "submit_file" not in found and found["items"] == [{"x": "a"}, {"x": "b"}]
    assert found["attributes"] == {
        "executable": f"{tmp_path}/prog.sh", "arguments": "$(x)", "input": f"{tmp_path}/$(x).txt",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["../../up", "/etc", "..", "$(d)"])
def test_outputs_stay_in_the_job_directory(value: str) -> None:
    spec = {"attributes": {"My.PrefectJobsOutputs": f'"{value}"'}, "items": [{"d": "../up"}]}
    place = submit_file.place_of(draft(spec=spec))
    assert place is not None and place(0, "out.txt") == "out.txt"
    inside = {"attributes": {"My.PrefectJobsOutputs": '"run$(Process)"'}, "items": []}
    place = submit_file.place_of(draft(spec=inside))
    assert place is not None and place(1, "out.txt") == "run1/out.txt" and place(1, "run1/a") == "run1/a"


def test_marks_of_other_systems_are_read(written: Any) -> None:
    found = file.read(written("\ufeffexecutable\t=\tprog.sh\r\n\targuments = a\r\nqueue 2\r\n"), 10)
    assert found.count == 2 and dict(found.attributes) == {"executable": "prog.sh", "arguments": "a"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("executable = prog.sh\nthis is nothing\nqueue\n", "line 2: HTCondor cannot read 'this is nothing'"),
        ("executable = prog.sh\nif foo bar\nqueue\nendif\n", "line 2: HTCondor cannot read 'if foo bar'"),
        ("executable = prog.sh\nif true\n# no end\n", "an 'if' has no 'endif'"),
        ("executable = prog.sh\ninclude : gone.inc\nqueue\n", "line 2: HTCondor cannot read 'include : gone.inc'"),
        ("executable = prog.sh\ninclude : job.sub\nqueue\n", "line 2: HTCondor cannot read 'include : job.sub'"),
        ("executable = prog.sh\nqueue x from gone.txt\n", "line 2: can't open file gone.txt"),
        ("executable = prog.sh\nqueue x from (\na\n", "line 2: the list that begins here has no end"),
        ("executable = prog.sh\nqueue x from (\na\n\nb\n)\n", "line 2: the list of items has a blank line"),
        ("executable = prog.sh\nqueue x from -\n", "line 2: the items come from standard input"),
        ("executable = prog.sh\nqueue nonsense\n", "line 2: "),
        ("executable = prog.sh\nn = some\nqueue $(n)\n", "the number of processes is 'some'"),
        ("executable = prog.sh\nqueue x in [a:b] (c d)\n", r"line 2: Invalid \[::\] statement"),
        ("executable = prog.sh\nqueue x in [7] (c d)\n", r"\[7\] is no slice of 2 items"),
        ("executable = prog.sh\nqueue 0\n", "line 2: there is nothing to queue"),
        ("executable = prog.sh\nqueue f matching *.none\n", "line 2: there is nothing to queue"),
        ("executable = prog.sh\nqueue 1000000\n", "1,000,000 processes.*at most 100,000.*PREFECT_JOBS_MAX_PROCESSES"),
        ("executable = prog.sh\nqueue\nexecutable = b.sh\nqueue\n", "executable is another one"),
        ("executable = prog.sh\nrequst_memory = 3\nqueue\n", "line 2: .*did you mean 'request_memory'"),
        ("executable = prog.sh\ninitialdir = ../run\nqueue\n", "line 2: initialdir = '../run' leads out of the folder"),
        ("executable = prog.sh\ninitialdir = /data\nqueue\n", "line 2: initialdir = '/data' leads out of the folder"),
        (
            "executable = prog.sh\nqueue initialdir from (\nrun\n../out\n)\n",
            r"initialdir = .* is '\.\./out' for items\[1\], which leads out",
        ),
        ("executable = prog.sh\ninitialdir = $(d)\nqueue d in (run /etc)\n", r"is '/etc' for items\[1\]"),
        ("executable = prog.sh\niwd = run\nqueue\n", "line 2: .*'iwd' is not possible"),
        (
            "executable = prog.sh\nshould_transfer_files = NO\ninitialdir = run\nqueue\n",
            "line 3: initialdir is possible with file transfer only",
        ),
        ("executable = prog.sh\nrequest_memory = 1 pound\nqueue\n", "line 2: .*1 pound"),
        ("executable = gone.sh\nqueue\n", "job.sub: The file '.*gone.sh' .executable. does not exist"),
        ("executable = prog.sh\ninput = $(x)\nqueue x in (job.sub gone)\n", "gone' .standard input. does not exist"),
        ("arguments = 1\nqueue\n", "no executable"),
        ("executable = prog.sh\noutput = /tmp/out\nqueue\n", "leads out of the job directory"),
        ("executable = \udcff\nqueue\n", "not UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_named(written: Any, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"job.sub.*{words}|{words}") as caught:
        spec_of(written(text))
    assert "job.sub" in str(caught.value) and "no-such-folder" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [("-", "standard input"), (7, "is the path"), ("gone", "does not exist"), (".", "is a directory")],
)
def test_what_is_no_file(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec_of(given)


def test_the_limit_is_a_setting(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_JOBS_MAX_PROCESSES", "2")
    get_settings.cache_clear()
    try:
        assert spec_of(written("executable = prog.sh\nqueue 2\n"))["num_jobs"] == 2
        for more in (
            {"submit_file": written("executable = prog.sh\nqueue 3\n")},
            {"num_jobs": 3},
            {"items": [{"x": 1}] * 3},
        ):
            with pytest.raises(ValueError, match="PREFECT_JOBS_MAX_PROCESSES"):
                CondorJob.check_spec({**CondorJob.spec_defaults, **more})
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_a_file_that_cannot_be_opened(written: Any) -> None:
    path = written("executable = prog.sh\nqueue\n")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="does not exist"):
        spec_of(path)
