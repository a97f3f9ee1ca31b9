"""``python -m prefect_jobs.tethys rewrite``: what becomes of the text of imports."""

import ast
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.imports import Plan, plan
from prefect_jobs.tethys.move.names import KNOWN, MODULES
from prefect_jobs.tethys.move.rewrite import rewritten
from prefect_jobs.tethys.move.source import Source

REWRITTEN = {
    "from tethys_sdk.jobs import CondorJob": "from prefect_jobs.tethys import CondorJob",
    "from tethys_sdk.jobs import CondorJob as Job, DaskJob": (
        "from prefect_jobs.tethys import CondorJob as Job, DaskJob"
    ),
    "from tethys_compute.models.condor.condor_job import CondorJob": "from prefect_jobs.tethys import CondorJob",
    "from tethys_compute.job_manager import JobManager, JOB_TYPES": (
        "from prefect_jobs.tethys import JobManager, JOB_TYPES"
    ),
    # layout and comments of a statement stay
    "from tethys_sdk.jobs import (  # one\n    CondorJob,  # two\n    # three\n    DaskJob,\n)  # four\n": (
        "from prefect_jobs.tethys import (  # one\n    CondorJob,  # two\n    # three\n    DaskJob,\n)  # four\n"
    ),
    "from tethys_sdk . \\\n  jobs import CondorJob, \\\n  DaskJob\n": (
        "from prefect_jobs.tethys import CondorJob, \\\n  DaskJob\n"
    ),
    "from tethys_sdk.jobs import(DaskJob)": "from prefect_jobs.tethys import(DaskJob)",
    # some names stay
    "from tethys_sdk.base import TethysAppBase, url_map_maker as u\n": (
        "from tethys_sdk.base import url_map_maker as u\nfrom prefect_jobs.tethys import TethysAppBase\n"
    ),
    "def f():\r\n\tfrom tethys_sdk.gizmos import MapView, JobsTable as T  # tables\r\n": (
        "def f():\r\n\tfrom tethys_sdk.gizmos import MapView\r\n\tfrom prefect_jobs.tethys import JobsTable as T"
        "  # tables\r\n"
    ),
    "from tethys_sdk.gizmos import (\n    MapView,\n    JobsTable,\n)\n": (
        "from tethys_sdk.gizmos import MapView\nfrom prefect_jobs.tethys import JobsTable\n"
    ),
    "x = 1; from tethys_sdk.gizmos import MapView, JobsTable; y = 2": (
        "x = 1; from tethys_sdk.gizmos import MapView; from prefect_jobs.tethys import JobsTable; y = 2"
    ),
    "from tethys_sdk.gizmos import MapView, JobsTable; y = 2": (
        "from tethys_sdk.gizmos import MapView; from prefect_jobs.tethys import JobsTable; y = 2"
    ),
    "if x: from tethys_sdk.gizmos import MapView, JobsTable": (
        "if x: from tethys_sdk.gizmos import MapView; from prefect_jobs.tethys import JobsTable"
    ),
    "if x: \\\n  from tethys_sdk.gizmos import MapView, JobsTable": (
        "if x: \\\n  from tethys_sdk.gizmos import MapView; from prefect_jobs.tethys import JobsTable"
    ),
    # several places
    "try:\n    from tethys_sdk.jobs import DaskJob\nexcept ImportError:\n    DaskJob = None\n": (
        "try:\n    from prefect_jobs.tethys import DaskJob\nexcept ImportError:\n    DaskJob = None\n"
    ),
    "if TYPE_CHECKING:\n    from tethys_sdk.jobs import DaskJob\n": (
        "if TYPE_CHECKING:\n    from prefect_jobs.tethys import DaskJob\n"
    ),
    "async def f():\n    from tethys_sdk.jobs import DaskJob; return DaskJob": (
        "async def f():\n    from prefect_jobs.tethys import DaskJob; return DaskJob"
    ),
    # modules
    "import os, tethys_sdk.jobs as tj, sys\ntj.CondorJob": "import os, prefect_jobs.tethys as tj, sys\ntj.CondorJob",
    "import tethys_sdk.jobs as tj\nsetattr(tj, name, 1)": "import prefect_jobs.tethys as tj\nsetattr(tj, name, 1)",
    "import tethys_compute.models as m\nm.condor.condor_job.CondorJob.objects": (
        "import prefect_jobs.tethys as m\nm.CondorJob.objects"
    ),
    "import tethys_sdk.jobs\nx = [tethys_sdk.jobs.CondorJob]": (
        "import prefect_jobs.tethys\nx = [prefect_jobs.tethys.CondorJob]"
    ),
    "import tethys_sdk.jobs, tethys_sdk.compute\ntethys_sdk.jobs.DaskJob(tethys_sdk.compute.get_scheduler(''))": (
        "import prefect_jobs.tethys\nprefect_jobs.tethys.DaskJob(prefect_jobs.tethys.get_scheduler(''))"
    ),
    "import tethys_sdk.jobs\nimport tethys_sdk.routing\ntethys_sdk.jobs.DaskJob, tethys_sdk.routing.controller": (
        "import prefect_jobs.tethys\nimport tethys_sdk.routing\n"
        "prefect_jobs.tethys.DaskJob, tethys_sdk.routing.controller"
    ),
    "def f(tethys_sdk):\n    tethys_sdk.x\nimport tethys_sdk.jobs": (
        "def f(tethys_sdk):\n    tethys_sdk.x\nimport prefect_jobs.tethys"
    ),
    "def f():\n    global tethys_sdk\n    import tethys_sdk.jobs\ntethys_sdk.jobs.DaskJob": (
        "def f():\n    global tethys_sdk\n    import prefect_jobs.tethys\nprefect_jobs.tethys.DaskJob"
    ),
    "from tethys_sdk import jobs\njobs.DaskJob": "from prefect_jobs import tethys as jobs\njobs.DaskJob",
    "from tethys_sdk import jobs as tj, gizmos\ntj.DaskJob, gizmos.JobsTable": (
        "from prefect_jobs import tethys as tj, tethys as gizmos\ntj.DaskJob, gizmos.JobsTable"
    ),
    "from tethys_sdk import jobs, routing": "from tethys_sdk import routing\nfrom prefect_jobs import tethys as jobs",
    "from tethys_compute.models import TethysJob, condor\ncondor.condor_job.CondorJob": (
        "from prefect_jobs.tethys import TethysJob\nfrom prefect_jobs import tethys as condor\ncondor.CondorJob"
    ),
    # all names
    "from tethys_sdk.jobs import *  # all\nCondorJob, [DaskJob for x in ()]": (
        "from prefect_jobs.tethys import CondorJob, DaskJob  # all\nCondorJob, [DaskJob for x in ()]"
    ),
    "from tethys_sdk.jobs import *\nfrom tethys_sdk.gizmos import *\ndef f(a: 'DaskJob'):\n    JobsTable(a)": (
        "from prefect_jobs.tethys import DaskJob\nfrom prefect_jobs.tethys import JobsTable\n"
        "def f(a: 'DaskJob'):\n    JobsTable(a)"
    ),
    # places are counted in characters, whatever the text
    "é = 'ü𝄞'; from tethys_sdk.jobs import DaskJob": "é = 'ü𝄞'; from prefect_jobs.tethys import DaskJob",
    "x = '\x0c\x1c\u2028'\n\x0cfrom tethys_sdk.jobs import DaskJob": (
        "x = '\x0c\x1c\u2028'\n\x0cfrom prefect_jobs.tethys import DaskJob"
    ),
    "x = 1\rfrom tethys_sdk.jobs import DaskJob\ry = 2": "x = 1\rfrom prefect_jobs.tethys import DaskJob\ry = 2",
}

#: Code whose imports are left → a word of the reason.
LEFT = {
    "from tethys_sdk.gizmos import (\n    MapView,  # a map\n    JobsTable,\n)": "comment",
    "import tethys_sdk.jobs as tj\ntj.JobTemplate": "no tj.JobTemplate",
    "import tethys_sdk.gizmos as g\nuse(g)": "g is used as a value",
    "from tethys_sdk import gizmos\ngizmos.MapView": "no gizmos.MapView",
    "import tethys_sdk.jobs\nuse(tethys_sdk)": "tethys_sdk is used",
    "import tethys_sdk.jobs\ntethys_sdk.jobs.CondorJob, tethys_sdk.gizmos.MapView": "tethys_sdk.gizmos.MapView is used",
    "import tethys_sdk.jobs\n(tethys_sdk\n  .jobs.CondorJob)": "tethys_sdk.jobs.CondorJob is used",
    "import tethys_sdk.jobs\ndef f(x: 'tethys_sdk.jobs.CondorJob'): ...": "in a string",
    "import tethys_sdk.jobs\ntethys_sdk = 3": "other values",
    "import tethys_sdk.jobs\nprefect_jobs = 3": "prefect_jobs is another name",
    "import tethys_compute.models as m\nm.condor. \\\n condor_job.CondorJob": "not in one line",
    "from tethys_sdk.jobs import *\nUnknown": "unclear where Unknown",
    "from tethys_sdk.jobs import *\nfrom os import *\nCondorJob": "other modules' names",
    "from tethys_sdk.jobs import *\n__all__ = ['CondorJob']": "__all__ is used",
    "from tethys_sdk.jobs import *\nCondorJob, eval('DaskJob')": "eval is used",
    "from tethys_sdk.jobs import *\nx = 1": "none of its names",
}

UNCHANGED = [
    "from .tethys_sdk.jobs import CondorJob",
    "from tethys_sdk.routing import controller",
    "from tethysapp.mine.jobs import CondorJob",
    "import tethys_sdk",
    "x = 'from tethys_sdk.jobs import CondorJob'  # from tethys_sdk.jobs import CondorJob",
    "from prefect_jobs.tethys import CondorJob",
    "",
]


def planned(text: str, name: str = "code.py") -> tuple[str, Plan]:
    code = Code(Source(Path(name), text.encode()))
    made = plan(code)
    return rewritten(code, made), made


@pytest.mark.parametrize("text", REWRITTEN)
def test_imports_are_rewritten(text: str) -> None:
    after, made = planned(text)
    assert after == REWRITTEN[text]
    compile(after, "code.py", "exec")
    assert made.rewritten
    # then nothing is left to do
    assert planned(after)[0] == after


@pytest.mark.parametrize("text", LEFT)
def test_what_cannot_be_decided_is_left(text: str) -> None:
    after, made = planned(text)
    assert after == text
    assert len(made.left) == 1 and LEFT[text] in made.left[0].reason
    assert "prefect_jobs" in made.left[0].write


@pytest.mark.parametrize("text", UNCHANGED)
def test_other_code_is_unchanged(text: str) -> None:
    after, made = planned(text)
    assert after == text and made == Plan()


def test_all_names_of_a_package_are_left() -> None:
    after, made = planned("from tethys_sdk.jobs import *\nCondorJob", "app/__init__.py")
    assert "from tethys_sdk.jobs" in after and "import its names from here" in made.left[0].reason


def test_names_that_stay_are_named() -> None:
    _, made = planned("from tethys_sdk.gizmos import JobsTable, MapView, Button")
    assert [(staying.module, staying.names) for staying in made.staying] == [
        ("tethys_sdk.gizmos", ("MapView", "Button"))
    ]


def test_long_statements_get_several_lines() -> None:
    names = [f"APythonClassWithALongName{number}" for number in range(4)]
    after, _ = planned(f"if x:\n  from tethys_sdk.base import TethysAppBase, {', '.join(names)}\n")
    lines = "".join(f"      {name},\n" for name in names)
    assert after == (
        f"if x:\n  from tethys_sdk.base import (\n{lines}  )\n  from prefect_jobs.tethys import TethysAppBase\n"
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_name_of_every_module_is_rewritten(module: str) -> None:
    for name in MODULES[module]:
        assert planned(f"from {module} import {name}")[0] == f"from prefect_jobs.tethys import {name}"


NAMES = sorted(KNOWN)
SHAPES = (
    "{0}",
    "x = 'ü'; {0}; y = 2",
    "def f():\n    {0}\n    return 1\n",
    "if TYPE_CHECKING:\n\t{0}  # why\nelse:\n\tx = 1\n",
    "try:\n  {0}\nexcept ImportError: raise\n",
    "class A:\n    '''A text.\n    '''\n    {0}\n",
    "# -*- coding: utf-8 -*-\n\n{0}\n\n\nx = '''\n{0}\n'''\n",
)


@st.composite
def statements(draw: st.DrawFn) -> str:
    """An import of Tethys, in any of the ways to write one."""
    module = draw(st.sampled_from(["tethys_sdk.jobs", "tethys_sdk.gizmos", "tethys_compute.models", "os.path"]))
    names = draw(st.lists(st.sampled_from([*NAMES, "MapView", "condor", "other"]), min_size=1, max_size=4, unique=True))
    aliases = [f"{name} as n{draw(st.integers(0, 9))}" if draw(st.booleans()) else name for name in names]
    way = draw(st.integers(0, 4))
    if way == 0:
        return f"import {module}, sys" if draw(st.booleans()) else f"import {module} as tj"
    if way == 1:
        return f"from {module} import (\n        {', '.join(aliases)},\n    )"
    if way == 2:
        lines = ",  # this\n        ".join(aliases)
        return f"from {module} import (  # why\n        {lines},\n    )"
    if way == 3:
        return f"from  {module}  import \\\n        {', '.join(aliases)}"
    return f"from {module} import {', '.join(aliases)}"


def bound(tree: ast.AST) -> list[str]:
    """The names that the imports bind, without the roots of plain imports."""
    return sorted(
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if isinstance(node, ast.ImportFrom) or alias.asname
    )


def around(text: str) -> str:
    """The code without its imports."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                value[:] = [each for each in value if not isinstance(each, ast.Import | ast.ImportFrom)] or []
    return ast.dump(tree)


@settings(max_examples=150, deadline=None)
@given(statement=statements(), shape=st.sampled_from(SHAPES), newline=st.sampled_from(["\n", "\r\n"]))
def test_any_import_stays_the_same_for_the_code_around_it(statement: str, shape: str, newline: str) -> None:
    text = shape.format(statement).replace("\n", newline)
    after, made = planned(text)
    # the same names are there, from here if they can be
    before_tree, after_tree = ast.parse(text), ast.parse(after)
    assert bound(after_tree) == bound(before_tree)
    assert around(after) == around(text)
    if not made.left:
        nodes = [node for node in ast.walk(after_tree) if isinstance(node, ast.ImportFrom)]
        assert [
            alias.name for node in nodes for alias in node.names if alias.name in MODULES.get(node.module or "", ())
        ] == []
    # all else is equal, byte for byte
    place = text.index(statement.replace("\n", newline)) if statement.replace("\n", newline) in text else 0
    assert after[:place] == text[:place]
    rest = text[place + len(statement.replace("\n", newline)) :]
    assert after.endswith(rest)
    assert comments(after) == comments(text)
    assert newline not in text or newline == "\n" or "\n" not in after.replace("\r\n", "")
    # a second time changes nothing
    assert planned(after)[0] == after


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_pairs_of_statements_do_not_disturb_each_other() -> None:
    single = {
        text: after
        for text, after in REWRITTEN.items()
        if not any(word in text for word in ("import *", "global", "\r", "if x: \\"))
        and text.startswith(("from", "if"))
    }
    for (one, one_after), (two, two_after) in itertools.permutations(single.items(), 2):
        separator = "" if one.endswith("\n") else "\n"
        assert planned(f"{one}{separator}{two}")[0] == f"{one_after}{separator}{two_after}"
