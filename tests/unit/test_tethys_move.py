"""``python -m prefect_jobs.tethys``: the commands, the files that they find, and those that they cannot read."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_jobs.tethys.__main__ import main
from prefect_jobs.tethys.move.files import walk

OLD, NEW = "from tethys_sdk.jobs import CondorJob\n", "from prefect_jobs.tethys import CondorJob\n"
Output = pytest.CaptureFixture[str]


def put(folder: Path, **files: str | bytes) -> None:
    """Writes files; a double underscore in a name is a folder."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


# what check prints


def test_check_prints_each_finding_and_a_summary(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, app="from tethys_sdk.jobs import CondorJob\nCondorJob.objects.filter(x=1)\n", other="x = 1")
    assert main(["check", str(tmp_path)]) == 1
    out = capsys.readouterr().out.replace(str(tmp_path), "…")
    assert out == (
        "…/app.py:1:1: changes: from tethys_sdk.jobs import CondorJob\n"
        "    rewrite changes this import\n"
        "    write: from prefect_jobs.tethys import CondorJob\n"
        "…/app.py:2:26: will not work: CondorJob.objects.filter(x=1)\n"
        "    x: jobs cannot be filtered by this\n"
        "    write: extended_properties__x=… if the value is kept there, or a field that every job has\n"
        "1 will not work, 1 to change, 0 that work; 2 files read.\n"
    )


def test_check_is_content_with_imports_to_rewrite_and_with_the_portal(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, app=f"{OLD}from tethys_sdk.routing import controller\n")
    assert main(["check", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("0 will not work, 1 to change, 1 that work; 1 file read.\n")


def test_check_prints_json(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, app=OLD, bad="x = (")
    assert main(["check", str(tmp_path), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["findings"] == [
        {
            "file": str(tmp_path / "app.py"),
            "line": 1,
            "column": 1,
            "code": OLD.strip(),
            "kind": "changes",
            "message": "rewrite changes this import",
            "write": NEW.strip(),
        }
    ]
    assert data["problems"] == [
        {"file": str(tmp_path / "bad.py"), "line": 1, "message": "cannot be parsed: '(' was never closed"}
    ]
    assert data["summary"] == {"works": 0, "changes": 1, "will not work": 0, "files": 1, "problems": 1}


@pytest.mark.parametrize("command", ["check", "rewrite"])
@pytest.mark.parametrize(
    ("path", "reason"), [("nothing", "does not exist"), ("empty", "no Python file"), ("text.txt", "no Python file")]
)
def test_a_path_without_python_is_an_error(
    tmp_path: Path, capsys: Output, command: str, path: str, reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no code")
    assert main([command, str(tmp_path / path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / path} {'has ' if 'no' in reason[:2] else ''}{reason}.\n"


def test_the_module_is_a_command_that_loads_little(tmp_path: Path) -> None:
    put(tmp_path, app=OLD)
    command = [sys.executable, "-X", "importtime", "-m", "prefect_jobs.tethys", "check", "app.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"app.py:1:1: changes: {OLD.strip()}")
    assert "sqlalchemy" not in done.stderr and "| typer" not in done.stderr


TABLES = """from tethys_sdk.gizmos import JobsTable
def home(request):
    first = JobsTable([], ())
    context = {"second": first, "map": MapView()}
    context["third"] = first
    return {"fourth": JobsTable([], ())}
"""


def test_tags_that_show_a_table_will_not_work(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, controllers=TABLES)
    names = ("first", "jobs_table second", "third", "fourth", "map", "other")
    (tmp_path / "home.html").write_bytes(b"\xff\n" + "".join(f"<p>{{% gizmo {name} %}}\n" for name in names).encode())
    assert main(["check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    for line, name in enumerate(names[:4], start=2):
        assert f"home.html:{line}:4: will not work: {{% gizmo {name} %}}\n" in out
        assert f"    write: {{{{ {name.split()[-1]} }}}}\n" in out
    assert "gizmo map" not in out and "gizmo other" not in out
    assert out.endswith("4 will not work, 1 to change, 0 that work; 1 file read.\n")


# what cannot be read

BAD = {
    "syntax": (b"x = 1\ny = = 2\n", ":2: cannot be parsed: invalid syntax"),
    "python2": (b"print 'old'\n", ":1: cannot be parsed: Missing parentheses"),
    "latin": ("x = 1\n\ny = 'ü'\n".encode("latin-1"), ":3: cannot be parsed: it is not in the encoding utf-8"),
    "unknown": (b"# coding: nothing\n", ":1: cannot be parsed: unknown encoding"),
    "no_text": (b"# coding: rot13\n", ":1: cannot be parsed: 'rot13' is not a text encoding"),
    "null": (b"x = '\0'\n", ": cannot be parsed: source code string cannot contain null bytes"),
    "deep": (b"x = " + b"-" * 20000 + b"1\n", ": cannot be parsed: it is nested too deeply"),
    "shifts": (b"# coding: iso-2022-jp\nx = '\x1b(B\x1b(B'\n", ": cannot be parsed: the encoding iso-2022-jp has"),
}


@pytest.mark.parametrize("command", ["check", "rewrite"])
@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_done(
    tmp_path: Path, capsys: Output, command: str, name: str
) -> None:
    content, message = BAD[name]
    files: dict[str, str | bytes] = {name: content, "zebra": OLD}
    put(tmp_path, **files)
    assert main([command, str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path / name}.py{message}" in out
    assert "zebra" in out and "1 file read, 1 could not be read." in out


@pytest.mark.parametrize(
    ("before", "encoding"),
    [
        ("# coding: latin-1\nx = 'ü'\n", "latin-1"),
        ("# coding: cp1252\nx = '€'\n", "cp1252"),
        ("x = 'ü'\n", "utf-8-sig"),
    ],
)
def test_files_keep_their_encoding(tmp_path: Path, before: str, encoding: str) -> None:
    put(tmp_path, app=(before + OLD).encode(encoding))
    assert main(["rewrite", str(tmp_path), "--write"]) == 0
    assert (tmp_path / "app.py").read_bytes() == (before + NEW).encode(encoding)


# what is found


def test_folders_that_are_no_app_are_skipped(tmp_path: Path) -> None:
    put(tmp_path, app=OLD, inner__deep__code=OLD, __pycache____a=OLD)
    for name in ("__pycache__", ".git", "node_modules", "env/lib", "conda/lib"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "a.py").write_text(OLD)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "conda" / "conda-meta").mkdir()
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "pipe.py")
    assert walk(tmp_path).files == [tmp_path / "app.py", tmp_path / "inner" / "deep" / "code.py"]
    # but one that is named is read
    assert walk(tmp_path / "env").files == [tmp_path / "env" / "lib" / "a.py"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, a__app=OLD)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "twin.py").symlink_to("app.py")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c.py").symlink_to("c.py")
    (tmp_path / "d.py").symlink_to("nowhere.py")
    (tmp_path / ".#e.py").symlink_to("user@host.1:2")
    found = walk(tmp_path)
    assert found.files == [tmp_path / "a" / "app.py"]
    assert [path.name for path, _ in found.problems] == ["c.py", "d.py"]
    assert found.problems[1][1] == "the link leads nowhere"


def test_a_broken_link_is_named(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, app=OLD)
    (tmp_path / "bad.py").symlink_to("nowhere.py")
    assert main(["check", str(tmp_path)]) == 1
    assert f"{tmp_path / 'bad.py'}: cannot be read: the link leads nowhere\n" in capsys.readouterr().out


def test_names_that_are_no_text_can_be_printed(tmp_path: Path, capsys: Output) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py"))
    path.write_text(OLD)
    assert main(["rewrite", str(tmp_path)]) == 0
    assert "\\udcff.py" in capsys.readouterr().out


# what rewrite writes


def test_rewrite_prints_a_difference_that_can_be_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, app=f"import os\n{OLD}", crlf=f"{OLD}x = 1\n".replace("\n", "\r\n"), end=OLD.strip(), other="x = 1")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    command = [sys.executable, "-m", "prefect_jobs.tethys", "rewrite", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert b"--- app.py\n+++ app.py\n@@ -1,2 +1,2 @@\n import os\n-from tethys_sdk.jobs" in done.stdout
    assert done.stdout.endswith(b"\n3 imports to rewrite in 3 files; 4 files read. Nothing was written: use --write.\n")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    # when
    subprocess.run(["git", "apply", "-p0"], cwd=tmp_path, input=done.stdout, check=True, timeout=60)
    # then
    assert (tmp_path / "app.py").read_text() == f"import os\n{NEW}"
    assert (tmp_path / "crlf.py").read_bytes() == f"{NEW}x = 1\n".replace("\n", "\r\n").encode()
    assert (tmp_path / "end.py").read_text() == NEW.strip()


def test_rewrite_writes_in_place_and_once(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, app=OLD, inner__other=f"if True:\n    {OLD}")
    assert main(["rewrite", str(tmp_path), "--write"]) == 0
    assert capsys.readouterr().out.endswith("2 imports rewritten in 2 files; 2 files read.\n")
    assert ((tmp_path / "app.py").read_text(), (tmp_path / "inner" / "other.py").read_text()) == (
        NEW,
        f"if True:\n    {NEW}",
    )
    written = (tmp_path / "app.py").stat()
    assert main(["rewrite", str(tmp_path), "--write"]) == 0
    assert capsys.readouterr().out == "0 imports rewritten in 0 files; 2 files read.\n"
    assert (tmp_path / "app.py").stat().st_ino == written.st_ino


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.py"
    target.parent.mkdir()
    target.write_text(OLD)
    target.chmod(0o751)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "code.py").symlink_to(target)
    assert main(["rewrite", str(tmp_path / "app"), "--write"]) == 0
    assert (tmp_path / "app" / "code.py").readlink() == target
    assert target.read_text() == NEW
    assert stat.S_IMODE(target.stat().st_mode) == 0o751
    assert [path.name for path in target.parent.iterdir()] == ["real.py"]


def test_a_file_that_cannot_be_written_is_unchanged(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    put(tmp_path, app=OLD)
    monkeypatch.setattr(os, "fsync", fail)
    assert main(["rewrite", str(tmp_path), "--write"]) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path / 'app.py'}: cannot be written: No space left on device\n0 imports rewritten in 0 files" in out
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("app.py", OLD)]


def test_rewrite_names_what_is_left_and_what_stays(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, app="from tethys_sdk.gizmos import JobsTable, MapView\nimport tethys_sdk.jobs as tj\ntj.Nothing\n")
    assert main(["rewrite", str(tmp_path), "--write"]) == 1
    path = tmp_path / "app.py"
    assert capsys.readouterr().out == (
        f"{path}: 1 import rewritten\n"
        f"{path}:1: MapView: still imported from tethys_sdk.gizmos\n"
        f"{path}:2: change this import by hand: prefect_jobs.tethys has no tj.Nothing. "
        "Write: import prefect_jobs.tethys as tj\n"
        "1 import rewritten in 1 file, 1 import to change by hand; 1 file read.\n"
    )


def test_rewrite_prints_json(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, app=OLD, left="import tethys_sdk.jobs as tj\ntj.Nothing\n")
    assert main(["rewrite", str(tmp_path), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["changed"][0]["file"] == str(tmp_path / "app.py") and f"+{NEW}" in data["changed"][0]["diff"]
    assert data["left"][0]["line"] == 1 and data["written"] is False
    assert data["summary"] == {"imports": 1, "changed": 1, "left": 1, "files": 2, "problems": 0}
