"""From submit commands to a submit description, by HTCondor's own rules."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs.naming import slug
from prefect_jobs.schedulers.condor.submit.description import TEMPLATES, Request, check_command, describe, incoming
from prefect_jobs.schedulers.condor.submit.input_files import DescriptionError
from tests.unit.submit_texts import JOB, SH, commands, description, htcondor

# -- commands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("transfer_input_file", "transfer_input_files"),
        ("requirments", "requirements"),
        ("Execuable", "executable"),
        ("should_transfer_file", "should_transfer_files"),
        ("request_memry", "request_memory"),
        ("request_memroy", "request_memory"),
        ("memory_request", "request_memory"),
        ("request_mem", "request_memory"),
        ("request_memory_mb", "request_memory"),
        ("request_memory_gb", "request_memory"),
        ("request_mem_mb", "request_memory"),
        ("request_disk_gb", "request_disk"),
        ("request_cpus_count", "request_cpus"),
        ("memory", "request_memory"),
        ("reqest_gpus", "request_gpus"),
        ("request_cups", "request_cpu"),
        ("require_gpu", "require_gpus"),
        ("outputs", "output"),
        ("transferinput_file", "transfer_input_files"),
    ],
)
def test_a_slip_of_a_command_is_never_ignored(name: str, meant: str) -> None:
    with pytest.raises(DescriptionError, match=f"no submit command {name.lower()!r}; did you mean {meant!r}?"):
        commands({name: "1"})


def test_all_slips_are_named_at_once() -> None:
    with pytest.raises(DescriptionError, match=r"'argument'.*'outptu'"):
        commands({"argument": 1, "outptu": 2})


@pytest.mark.parametrize("name", ["my_own_word", "x", "Year", "model_dir"])
def test_what_is_like_no_command_is_passed_on_with_a_warning(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert commands({name: "1"})[name.lower()] == "1"
    assert f"knows no submit command {name.lower()!r}" in caplog.text and "write '+Name'" in caplog.text


@pytest.mark.parametrize("name", ["request_foos", "request_tpus", "request_licenses", "request_fpgas", "RequestMemory"])
def test_resources_of_machines_and_other_names_of_commands_are_taken(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = "request_memory" if name == "RequestMemory" else name
    assert commands({name: 2})[wanted] == "2"
    assert not caplog.text


@pytest.mark.parametrize("name", ["LeaveJobInQueue", "leaveinqueue"])
def test_a_command_is_refused_by_its_other_names_too(name: str) -> None:
    with pytest.raises(ValueError, match="not possible here"):
        check_command(name, "True")


# As HTCondor reads them (condor_submit -dry-run, 23.9).
@pytest.mark.parametrize(
    "value",
    [1024, 1.5, "2048", "1GB", "1 GB", "2G", "2g", "1.5GB", "512 K", "1TB", "MemoryUsage * 2", "$(mem)GB", "1.G", ""],
)
def test_a_size_that_htcondor_reads_is_taken(value: Any) -> None:
    for name in ("request_memory", "request_disk", "RequestMemory"):
        check_command(name, value)


@pytest.mark.parametrize("value", ["2GiB", "1P", "1024B", "1 G B", "1,5GB", "5 6", "10 foo", "1GBs"])
def test_a_size_that_htcondor_does_not_read_is_refused(value: str) -> None:
    for name in ("request_memory", "request_disk", "RequestMemory"):
        with pytest.raises(ValueError, match=r"'2GB', '1\.5 G', '512MB'"):
            check_command(name, value)


@pytest.mark.parametrize("name", ["request_cpus", "request_gpus", "request_foos"])
def test_a_number_has_no_unit(name: str) -> None:
    for value in (2, 1.5, "2", "TotalCpus / 2", "$(n)", "ifThenElse(x, 1, 2)"):
        check_command(name, value)
    for value in ("2 cores", "1GB", "2x"):
        with pytest.raises(ValueError, match="a number is needed"):
            check_command(name, value)


@pytest.mark.parametrize(
    "use", ["$(case)", "$(CASE)", "$(case:none)", "$INT(case)", "$F(Case)", "a$(case)b", "$REAL(case,%f)"]
)
def test_a_command_that_another_uses_as_a_macro_is_one(use: str) -> None:
    found = commands({"Case": "7", "arguments": ["--case", use]})

    assert found["case"] == "7"


@pytest.mark.parametrize("use", ["case", "$case", "(case)", "$(cases)", "$(other_case)"])
def test_a_command_that_only_seems_to_be_used_is_unknown(use: str, caplog: pytest.LogCaptureFixture) -> None:
    commands({"case": "7", "arguments": use})
    assert "no submit command 'case'" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "request_cpus",
        "request_licenses",
        "Request_Memory",
        "+Attr",
        "My.Attr",
        "MY.Attr",
        "ec2_tag_owner",
        "JobBatchName",
    ],
)
def test_known_commands_and_attributes_are_taken_in_any_case(name: str) -> None:
    if name == "JobBatchName":
        name = "batch_name"
    assert commands({name: "1"})[name if name[0] == "+" or "." in name else name.lower()] == "1"


@pytest.mark.parametrize(
    "name", ["", "two words", "a=b", "a\nb", "+", "+a b", "1st", "a-b", "queue 10", "+Attr = 1\nqueue", None, 5, "été"]
)
def test_what_is_no_name_of_a_command_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="not the name of a submit command"):
        check_command(name, "1")


@pytest.mark.parametrize(
    "name",
    [
        "initialdir",
        "InitialDir",
        "initial_dir",
        "iwd",
        "queue",
        "Queue",
        "leave_in_queue",
        "+Iwd",
        "My.Iwd",
        "+LeaveJobInQueue",
        "+PrefectJobsToken",
        "my.prefectjobstoken",
    ],
)
def test_a_command_that_would_break_a_promise_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not possible here: .+"):
        check_command(name, "1")
    with pytest.raises(DescriptionError, match="is not possible here"):
        commands({}, extra={name: "1"})


def test_a_command_of_none_is_not_written() -> None:
    assert "rank" not in commands({"rank": None})


def test_commands_of_one_submission_come_before_the_jobs_own() -> None:
    found = commands({"Request_Memory": "1 GB", "rank": "1"}, extra={"request_memory": "2 GB", "rank": None})

    assert found["request_memory"] == "2 GB"


def test_a_job_without_an_executable_is_refused() -> None:
    for attributes in ({}, {"executable": ""}, {"executable": "  "}, {"arguments": "x"}):
        with pytest.raises(DescriptionError, match="'nothing' has no executable"):
            describe(Request(name="nothing", attributes=attributes, directory=JOB))


def test_an_image_is_enough_of_an_executable() -> None:
    found = describe(Request(name="x", attributes={"universe": "docker", "docker_image": "debian"}, directory=JOB))

    assert "docker_image = debian\n" in found.text


def test_the_token_travels_as_an_attribute() -> None:
    assert commands(token="0123abcd")["My.PrefectJobsToken"] == '"0123abcd"'


# -- templates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected", "spool"),
    [
        ("base", {"universe": "vanilla", "should_transfer_files": "YES"}, True),
        ("vanilla_base", {"universe": "vanilla", "should_transfer_files": "YES"}, True),
        (
            "vanilla_transfer_files",
            {"should_transfer_files": "YES", "when_to_transfer_output": "ON_EXIT", "leave_in_queue": "JobStatus == 4"},
            True,
        ),
        ("vanilla_nfs", {"should_transfer_files": "NO", "transfer_executable": "False", "initialdir": str(JOB)}, False),
    ],
)
def test_every_template_makes_a_job(template: str, expected: dict[str, str], spool: bool) -> None:
    given = TEMPLATES[template]

    assert description(given).spool == spool
    assert commands(given).items() >= expected.items()


def test_these_are_all_templates() -> None:
    assert set(TEMPLATES) == {"base", "vanilla_base", "vanilla_transfer_files", "vanilla_nfs"}


@pytest.mark.parametrize(
    ("value", "spool"),
    [
        *[(value, True) for value in ("YES", "yes", "IF_NEEDED", True)],
        *[(value, False) for value in ("NO", "no", "False", "never", "$(mode)", False)],
    ],
)
def test_files_are_transferred_exactly_where_htcondor_does_it(value: Any, spool: bool) -> None:
    given = {"should_transfer_files": value, "mode": "NO", "arguments": "$(mode)"}

    assert description(given).spool == spool
    assert ("leave_in_queue" in commands(given)) == spool
    if isinstance(value, bool):
        assert commands(given)["should_transfer_files"] == ("YES" if value else "NO")


def test_htcondor_reads_every_command_of_a_description() -> None:
    given = {
        "arguments": ["it's", 'say "hi"', ""],
        "environment": {"A": "b c"},
        "+Attr": '"x"',
        "request_memory": "1 GB",
        "rank": 5,
    }
    found = description(given, token="0123abcd", count=3)

    answer = htcondor("answer = dict(htcondor2.Submit(data))", found.text)

    ours = {name.lower().replace("+", "my."): value for name, value in commands(given, token="0123abcd").items()}
    assert {name.lower(): value for name, value in answer.items()} == ours
    assert found.count == 3


# -- outputs -----------------------------------------------------------------------------------------------


def test_logs_go_into_a_folder_of_logs_under_the_jobs_name() -> None:
    found = description()
    written = commands()

    assert written["output"] == "logs/a-job.$(Cluster).$(Process).out"
    assert written["error"] == "logs/a-job.$(Cluster).$(Process).err"
    assert written["log"] == "logs/a-job.$(Cluster).$(Process).log"
    assert written["initialdir"] == f"{incoming(JOB)}/$(Process)"
    assert written["batch_name"] == "a-job"
    assert found.folders == ("logs",)


@pytest.mark.parametrize(
    ("given", "expected", "folder"),
    [
        ("out.txt", "out.txt", "."),
        ("deep/er/out.txt", "deep/er/out.txt", "deep/er"),
        ("./a/../out.txt", "out.txt", "."),
        (f"{JOB}/in/out.txt", "in/out.txt", "in"),
        ("a/..b/out.$(Process).txt", "a/..b/out.$(Process).txt", "a/..b"),
        ("with space, ünïcode", "with space, ünïcode", "."),
        ("$(where)/$(what).$(Cluster)", "results/x.$(Cluster)", "results"),
        ("price$.txt", "price$.txt", "."),
        ("", "logs/a-job.$(Cluster).$(Process).out", "logs"),
        (Path("p/out"), "p/out", "p"),
    ],
)
def test_outputs_may_go_anywhere_in_the_jobs_directory(given: Any, expected: str, folder: str) -> None:
    more = {"where": "results", "what": "x", "arguments": "$(where) $(what)"}

    assert commands({"output": given, **more})["output"] == expected
    assert folder in description({"output": given, **more}).folders


OUTSIDE = [
    "../out",
    "/etc/passwd",
    "a/../../out",
    "..",
    ".",
    "/data/job",
    "/data/job/../out",
    "/data/jobs/out",
    "$(up)/out",
]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("command", ["output", "error", "log", "stdout", "transfer_output_remaps"])
def test_an_output_that_leads_out_of_the_jobs_directory_is_refused(command: str, path: str) -> None:
    given = [{"out": path}, f'"a=b;out = {path}"', f"out={path}"] if command == "transfer_output_remaps" else [path]
    for value in given:
        with pytest.raises(DescriptionError, match="leads out of the job directory '/data/job'"):
            commands({command: value, "up": "../..", "arguments": "$(up)"})


@pytest.mark.parametrize(
    "path", ["$ENV(HOME)/x", "$(unknown)/x", "$$(Machine)", "$F(up)", "a/$(Cluster)/x", "$(Cluster)/x"]
)
def test_an_output_that_may_lead_anywhere_is_refused(path: str) -> None:
    for command, value in (("output", path), ("transfer_output_remaps", {"out": path})):
        with pytest.raises(DescriptionError, match=r"only .*Process.* and .*Cluster"):
            commands({command: value})


@pytest.mark.parametrize(
    "given",
    [
        r'"a\=b=/etc/x"',
        r'"a=b\;c=/etc/x"',
        {"a": "b;c=/etc/x"},
        {"a=b": "c"},
        {"a": 'b" c'},
        {"a": "b\\"},
        '"a=b" "c=d"',
    ],
)
def test_new_names_of_outputs_hide_nothing(given: Any) -> None:
    with pytest.raises(DescriptionError, match="no name can have"):
        commands({"transfer_output_remaps": given})


def test_outputs_may_get_new_names_and_folders() -> None:
    given = {"a.dat": "results/a.$(Process).dat", "b.dat": "osdf:///b.dat"}

    assert description({"transfer_output_remaps": given}).folders == ("logs", "results")


@pytest.mark.parametrize("name", ["two words", ["ok", "a,b"], "tab\there"])
def test_an_output_that_htcondor_would_split_is_refused_with_what_to_do(name: Any) -> None:
    with pytest.raises(DescriptionError, match="Leave transfer_output_files out"):
        commands({"transfer_output_files": name})


def test_a_directory_of_any_name_is_written_so_that_htcondor_sees_no_macro_in_it() -> None:
    request = Request(name="x", attributes=SH, directory=Path("/data/my $(job) ü, 1"))

    assert "initialdir = /data/my $(DOLLAR)(job) ü, 1/.incoming/$(Process)\n" in describe(request).text


def test_a_directory_with_a_line_break_is_refused() -> None:
    with pytest.raises(DescriptionError, match="line break"):
        describe(Request(name="x", attributes=SH, directory=Path("/data/a\nqueue 5")))


# -- names for files ---------------------------------------------------------------------------------------


@given(st.text())
def test_a_name_for_files_is_plain_whatever_it_is_made_from(name: str) -> None:
    found = slug(name)

    assert 0 < len(found) <= 60
    assert not set(found) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert found[0] not in "-."
    assert slug(found) == found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Flood 2026", "Flood-2026"),
        ("../../etc", "etc"),
        ("..", "job"),
        ("", "job"),
        ("世界", "job"),
        ("a/b\nc", "a-b-c"),
    ],
)
def test_a_name_for_files_reads_like_the_name(name: str, expected: str) -> None:
    assert slug(name) == expected
