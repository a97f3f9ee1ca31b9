"""``python -m prefect_jobs.tethys check``: what is said of the code of an app."""

from pathlib import Path

import pytest

from prefect_jobs.tethys.move.check import Line, check_code
from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.rules.finding import Verdict
from prefect_jobs.tethys.move.rules.lookups import is_known
from prefect_jobs.tethys.move.source import Source

START = """
import functools, importlib, logging
from django.db import models
from django.db.models import CharField, ForeignKey, Q
from prefect_jobs.tethys import BasicJob, CondorJob, CustomJobAction, DaskJob, JobManager, JobsTable
from prefect_jobs.tethys import CondorWorkflowJobNode, TethysAppBase, TethysJob
class App(TethysAppBase):
    ...
class Mine(CondorJob):
    ...
"""

WORKS, CHANGES, FAILS = Verdict.WORKS, Verdict.CHANGES, Verdict.FAILS

#: Code → the verdict, a part of the message, a part of what to write.
FOUND = {
    # imports
    "from tethys_sdk.jobs import CondorJob as C": (
        CHANGES,
        "rewrite",
        "from prefect_jobs.tethys import CondorJob as C",
    ),
    "import tethys_sdk.jobs as tj": (CHANGES, "rewrite", "import prefect_jobs.tethys as tj"),
    "import tethys_sdk.jobs\nprint(tethys_sdk)": (CHANGES, "by hand: tethys_sdk is used", "import prefect_jobs.tethys"),
    "from tethys_sdk.jobs import Nothing": (FAILS, "prefect_jobs.tethys has no Nothing", ""),
    "from prefect_jobs.tethys import Nothing": (FAILS, "prefect_jobs.tethys has no Nothing", ""),
    "import prefect_jobs.tethys as p\np.Nothing": (FAILS, "prefect_jobs.tethys has no Nothing", ""),
    "from tethys_compute.models import Scheduler": (FAILS, "has no Scheduler", ""),
    "from tethys_sdk.gizmos import MapView": (WORKS, "stays with the portal: tethys_sdk.gizmos.MapView", ""),
    "from tethys_sdk.app_settings import CustomSetting": (WORKS, "not covered: stays with the portal", ""),
    "from tethys_sdk.routing import controller": (WORKS, "not covered: stays with the portal", ""),
    "from tethys_sdk import permissions": (WORKS, "stays with the portal: tethys_sdk.permissions", ""),
    "import tethys_sdk.workspaces": (WORKS, "stays with the portal: tethys_sdk.workspaces", ""),
    "from tethys_sdk.jobs import CondorJobTemplate": (FAILS, "there are no job templates", "create_job("),
    # templates
    "class A(TethysAppBase):\n  def job_templates(self): ...": (FAILS, "there are no job templates", "create_job("),
    "App.job_templates()": (FAILS, "there are no job templates", "create_job("),
    "anything.set_jobs_templates([])": (FAILS, "there are no job templates", "create_job("),
    "JobManager(App).create_job('a', u, template_name='t')": (FAILS, "template_name", "create_job("),
    # models
    "class A(CondorJob):\n  x = models.CharField()": (FAILS, "A.x: a class of jobs", 'self.extended_properties["x"]'),
    "class A(Mine):\n  x: str = CharField()": (FAILS, "A.x: a class of jobs", 'self.extended_properties["x"]'),
    "class A(BasicJob):\n  x = ForeignKey('auth.User')": (FAILS, "A.x: a class of jobs", "extended_properties"),
    "class A(CondorWorkflowJobNode):\n  x = models.CharField()": (FAILS, "A.x", "a table of your own"),
    "class A(models.Model):\n  x = models.ForeignKey(Mine)": (FAILS, "a relation to a job", "job.id"),
    "class A(models.Model):\n  x = ForeignKey(to='tethys_compute.TethysJob')": (FAILS, "a relation to a job", "job.id"),
    # strings
    "x = 'tethys_sdk.jobs.BasicJob'": (CHANGES, "this string by hand", '"prefect_jobs.tethys.BasicJob"'),
    "x = 'tethys_compute.models.condor.condor_job:CondorJob'": (CHANGES, "hand", '"prefect_jobs.tethys:CondorJob"'),
    "importlib.import_module('tethys_sdk.jobs')": (CHANGES, "this string by hand", '"prefect_jobs.tethys"'),
    "importlib.import_module('tethys_sdk.gizmos')": (
        CHANGES,
        "it has CustomJobAction, JobsTable",
        "prefect_jobs.tethys",
    ),
    "f(process_results_function='tethys_compute.models.nothing')": (FAILS, "has no nothing", ""),
    # queries
    "Mine.objects.filter(cluster_id=3)": (FAILS, "cluster_id: jobs cannot", "extended_properties__cluster_id="),
    "CondorJob.objects.exclude(name__iexact=3)": (FAILS, "name__iexact: jobs cannot", "name__icontains"),
    "TethysJob.objects.all().get(name__exact=3)": (FAILS, "name__exact", "name=…"),
    "TethysJob.objects.filter(id__range=3)": (FAILS, "id__range", "id__gte=…, id__lte=…"),
    "TethysJob.objects.filter(user__id=3)": (FAILS, "user__id", "user=…, a username"),
    "TethysJob.objects.filter(user__username__in=3)": (FAILS, "user__username__in", "user__in=…"),
    "TethysJob.objects.filter(scheduler__name=3)": (FAILS, "scheduler__name", "scheduler=…"),
    "TethysJob.objects.order_by('id')[2:].filter(x=1)": (FAILS, "x: jobs cannot", ""),
    "TethysJob.objects.filter(Q(id=1) | Q(id=2))": (FAILS, "conditions of Django", "keywords"),
    "TethysJob.objects.values_list('id')": (FAILS, "a set of jobs has no values_list()", "all, get,"),
    "TethysJob.objects.filter(**f)": (WORKS, "cannot be read from the code", ""),
    "App.get_job_manager().list_jobs(filters={'x': 1})": (FAILS, "x: jobs cannot", ""),
    "m = JobManager(App)\nm.list_jobs(filters=dict(x=1))": (FAILS, "x: jobs cannot", ""),
    "def f(job_manager): job_manager.get_job(1, filters={**{'x': 1}})": (FAILS, "x: jobs cannot", ""),
    "self.job_manager.list_jobs(filters=g)": (WORKS, "cannot be read from the code", ""),
    "self.job_manager.list_jobs(filters={g: 1})": (WORKS, "cannot be read from the code", ""),
    "def f(job_manager):\n  a = job_manager.list_jobs()\n  a = a.filter(x=1)": (FAILS, "x: jobs cannot", ""),
    "class A(CondorJob):\n  @classmethod\n  def f(cls): cls.objects.filter(x=1)": (FAILS, "x: jobs cannot", ""),
    "C = CondorJob\ndef f():\n  C = 1\n  def g():\n    global C\n    C.objects.filter(x=1)": (FAILS, "x: jobs", ""),
    "def f():\n  C = CondorJob\n  def g():\n    nonlocal C\n    C.objects.filter(x=1)": (FAILS, "x: jobs", ""),
    # tables
    "JobsTable([], (), run_btn=True)": (WORKS, "run_btn: works with a DeprecationWarning", "actions="),
    "JobsTable([], (), status_actions=True)": (WORKS, "status_actions: works with a Deprec", "actions="),
    "JobsTable([], (), actions=['run', 'log'])": (WORKS, "'log' works with a DeprecationWarning", "'logs'"),
    "a = ('log',)\nJobsTable([], (), actions=a)": (WORKS, "'log' works with a DeprecationWarning", "'logs'"),
    "JobsTable([], (), nothing=1)": (FAILS, "JobsTable takes no nothing", "column_fields"),
    "JobsTable(**options)": (WORKS, "cannot be read from the code", ""),
    "CustomJobAction('x', lambda job: 1)": (WORKS, "a lambda works in a single process only", "a function of a module"),
    "CustomJobAction('x', '/y/', enabled_callback=lambda job: 1)": (WORKS, "a single process only", ""),
    "JobsTable([], (), actions=[('x', lambda job: 1)])": (WORKS, "a single process only", ""),
    "JobsTable([], (), actions=[{'label': 'x', 'callback_or_url': lambda j: 1}])": (WORKS, "a single process", ""),
    "def f():\n  def g(job): ...\n  CustomJobAction('x', g)": (WORKS, "a function inside a function works", ""),
    # functions and options
    "self.job_manager.create_job('a', u, process_results_function=lambda j: 1)": (FAILS, "a lambda cannot be", "a fun"),
    "g = lambda j: 1\njob = DaskJob()\njob.process_results_function = g": (FAILS, "a lambda cannot be", "a function"),
    "def f(job: CondorJob):\n  def g(): ...\n  job.process_results_function = g": (FAILS, "function inside a fun", ""),
    "CondorJob(process_results_function=functools.partial(f, 1))": (FAILS, "a partial cannot be", "a function"),
    "CondorJob.objects.get(id=1).execute(options=['-x'])": (FAILS, "options takes no list", "a dict"),
    "job = App.get_job_manager().get_job(1)\njob.execute(options=('-x',))": (FAILS, "options takes no list", "a dict"),
    "for job in CondorJob.objects.all(): job.execute(options=[])": (FAILS, "options takes no list", "a dict"),
    "[job.execute(options=[]) for job in CondorJob.objects.all()]": (FAILS, "options takes no list", "a dict"),
    "CondorJob.objects.all()[0].execute(options=[])": (FAILS, "options takes no list", "a dict"),
    "class A(Mine):\n  def f(self): self.execute(options=[])": (FAILS, "options takes no list", "a dict"),
    "class A(Mine):\n  def f(self): super().execute(options=[])": (FAILS, "options takes no list", "a dict"),
}

#: Code of which nothing is said.
SILENT = [
    "TethysJob.objects.filter(id__in=[1], user__username='a', extended_properties__a__b=1, status_code='COM')",
    "TethysJob.objects.filter(extended_properties__contains='a', _status__in=['COM'], pk=1).count()",
    "App.get_job_manager().list_jobs(filters=None, order_by='id')",
    "App.get_job_manager().list_jobs(filters={'status': 'Complete'})",
    "Other.objects.filter(cluster_id=3)",
    "def f(Mine): Mine.objects.filter(cluster_id=3)",
    "Mine = other()\nMine.objects.filter(cluster_id=3)",
    "x.create_job(process_results_function=lambda j: 1)",
    "connection.execute(options=['-x'])",
    "DaskJob().execute(options=['-x'])",
    "CondorJob().execute(options={'priority': 1})",
    "def results(job): ...\nCondorJob(process_results_function=results)",
    "CondorJob(process_results_function='tethysapp.mine.results')",
    "JobsTable(jobs=[], column_fields=(), actions=['logs', '|'], hover=True)",
    "def action(job): ...\nCustomJobAction('x', action)\nCustomJobAction('y', 'app:url')",
    "class A(models.Model):\n  x = models.CharField()\n  y = ForeignKey('auth.User')",
    "class A(CondorJob):\n  x = Field()\n  y = 3\n  def f(self): self.x = models.CharField()",
    "'''tethys_sdk.jobs.BasicJob'''",
    "x = 'see tethys_sdk.jobs.BasicJob'\ny = f'tethys_sdk.jobs{x}'",
    "logging.getLogger('tethys_compute.models')",
    "x = 'tethys_sdk.gizmos.MapView'",
    "App.get_scheduler('a').client.submit(f)",
    "from tethys_dataset_services.engines import GeoServer",
    "class A:\n  def job_templates(self): ...",
    "(lambda: CondorJob)().objects.filter(x=1)",
    "x = x.y\nx.filter(z=1)",
    "class A:\n  Own = CondorJob\n  def f(self): Own.objects.filter(x=1)",
    "m = other()\nclass A(CondorJob):\n  x = m.CharField()",
]


def found(text: str) -> list[Line]:
    code = Code(Source(Path("code.py"), f"{START}{text}".encode()))
    return check_code(code)


@pytest.mark.parametrize("text", FOUND)
def test_what_is_said(text: str) -> None:
    verdict, message, write = FOUND[text]
    lines = found(text)
    assert [line.verdict for line in lines] == [verdict]
    assert message in lines[0].message
    assert write in lines[0].write if write else True
    assert lines[0].code in " ".join(f"{START}{text}".split())


@pytest.mark.parametrize("text", SILENT)
def test_what_is_not_certain_is_not_said(text: str) -> None:
    assert found(text) == []


def test_long_chains_take_no_time() -> None:
    chain = ".filter(id=1)" * 40
    assert found(f"CondorJob.objects{chain}.filter(x=1)")[0].message == "x: jobs cannot be filtered by this"
    assert found(f"def f(jobs):\n  other{chain}\n  jobs = jobs{chain}") == []


def test_a_place_is_a_line_and_a_column_of_characters() -> None:
    line = found("é = 'ü'; x =  'tethys_sdk.jobs.BasicJob'")[0]
    assert (line.line, line.column) == (START.count("\n") + 1, 15)
    assert line.code == "é = 'ü'; x = 'tethys_sdk.jobs.BasicJob'"


def test_long_lines_and_control_characters_are_not_shown() -> None:
    line = found(f"x = 'tethys_sdk.jobs.BasicJob'  # \x1b[31m {'x' * 200}")[0]
    assert "\x1b" not in line.code and len(line.code) == 100 and line.code.endswith("…")


def test_names_that_come_with_all_of_a_module_are_known() -> None:
    code = Code(Source(Path("code.py"), b"from tethys_sdk.jobs import *\nCondorJob.objects.filter(x=1)"))
    assert [line.verdict for line in check_code(code)] == [CHANGES, FAILS]


def test_names_are_known_before_and_after_the_rewrite() -> None:
    for module in ("tethys_sdk.jobs", "tethys_compute.models", "prefect_jobs.tethys"):
        for text in (
            f"from {module} import CondorJob\nCondorJob",
            f"import {module} as m\nm.CondorJob",
            f"import {module}\n{module}.CondorJob",
            f"try:\n  from {module} import CondorJob\nexcept ImportError:\n  CondorJob = None\nCondorJob",
        ):
            code = Code(Source(Path("code.py"), f"{text}.objects.filter(x=1)".encode()))
            assert [line.message for line in check_code(code) if line.verdict is FAILS] == [
                "x: jobs cannot be filtered by this"
            ]


@pytest.mark.parametrize(
    ("lookup", "known"),
    [
        *((name, True) for name in ("id", "pk", "_status", "groups", "label__icontains", "user__in", "name__isnull")),
        *((name, False) for name in ("", "id__", "id__foo", "name__in__in", "user__username__in", "x", "x__in")),
        *((name, True) for name in ("extended_properties", "extended_properties__a__b__c", "user__username")),
        *((name, False) for name in ("extended_properties__", "extended_properties__a__", "__in")),
    ],
)
def test_which_filters_are_known(lookup: str, known: bool) -> None:
    assert is_known(lookup) is known
