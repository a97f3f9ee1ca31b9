"""The table in a page of a real Django site, as the how-to has it, in a real browser."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from prefect_jobs import App, Job
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.browser import chromium, pages
from tests.forks import Program, run_program
from tests.support import code_in, eventually

SETTINGS = """
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "hydrology.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "DIRS": ["."],
    "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
}]
LOGIN_REDIRECT_URL = "/floods"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the usual one takes a core's time on purpose
"""
APP = """
from prefect_jobs import App


class Hydrology(App):
    name = package = "hydrology"
"""
URLS = """
from django.contrib.auth.views import LoginView
from django.http import HttpResponse
from django.urls import path

from hydrology.app import Hydrology
from hydrology.views import floods
from prefect_jobs import JobsTable


async def later(request):
    user = await request.auser()
    jobs = await Hydrology.get_job_manager().alist_jobs(user=user)
    return HttpResponse(await JobsTable(jobs, ("name",)).arender(request))


login = LoginView.as_view(template_name="login.html")
urlpatterns = [path("login", login), path("floods", floods), path("later", later)]
"""
HEAD = '<!doctype html><html lang="en"><head><title>Floods</title></head><body><main><h1>Floods</h1>'
TEMPLATES = {
    "floods.html": f"{HEAD}{{{{ table }}}}</main></body></html>",
    "login.html": f'{HEAD}<form method="post">{{% csrf_token %}}{{{{ form }}}}<button>Sign in</button></form></main>',
}
PASSWORD = "rain and more rain"
MIGRATE = f"""
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
for name in ("alice", "bob"):
    User.objects.create_user(name, password={PASSWORD!r})
"""


class Hydrology(App):
    """The app of the site, in this process."""

    name = package = "hydrology"


@pytest.fixture
def site(tmp_path: Path, runtime: Runtime) -> Iterator[tuple[str, list[Job]]]:
    """The address of the site, and a job of each of two users."""
    (tmp_path / "hydrology").mkdir()
    asgi, views = code_in("django.md")
    modules = {"__init__": "", "settings": SETTINGS, "app": APP, "urls": URLS, "asgi": asgi, "views": views}
    for name, text in modules.items():
        (tmp_path / "hydrology" / f"{name}.py").write_text(text)
    for name, text in TEMPLATES.items():
        (tmp_path / name).write_text(text)
    jobs = [Hydrology.get_job_manager().create_job(f"of {user}", user, job_type="BASIC") for user in ("alice", "bob")]
    for job in jobs:
        job.save()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "hydrology.settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    made = run_program([sys.executable, "-c", MIGRATE], cwd=tmp_path, env=environment, timeout=120)
    assert made.returncode == 0, made.stderr
    with _served(tmp_path, environment) as url:
        yield url, jobs


@contextmanager
def _served(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = ["uvicorn", "hydrology.asgi:application", "--host", LOOPBACK, "--port", str(port)]
    said = folder / "web.log"
    with said.open("w") as log:
        server = Program([sys.executable, "-m", *command], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: "startup complete" in said.read_text(), "it is up", 60)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.terminate()
        server.wait(30)
    assert "Traceback" not in said.read_text(), said.read_text()


def _sign_in(page: Page, url: str, user: str) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{url}/floods")


def _cookies(page: Page) -> dict[str, str]:
    return {str(each["name"]): str(each["value"]) for each in page.context.cookies()}


def test_who_has_signed_in_at_django_steers_jobs_in_its_page(site: tuple[str, list[Job]]) -> None:
    url, (mine, theirs) = site
    with chromium() as browser, pages(browser, "nobody") as page:
        _sign_in(page, url, "alice")
        row = page.locator(".job-row")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("of alice")
        # an action, and the events after it
        row.locator("details.pj-menu > summary").click()
        row.get_by_role("button", name="Run", exact=True).click()
        expect(row.locator(".pj-status")).to_contain_text("Submitted")
        mine.handle.refresh()
        mine.update_status("Calibrating")
        expect(row.locator(".pj-status")).to_contain_text("Calibrating")
        mine.update_status("Complete")
        expect(row.locator(".pj-status")).to_contain_text("Complete")
        # without JavaScript a form leads back to the page of Django
        token = page.locator("[data-csrf-token]").get_attribute("data-csrf-token") or ""
        form, sender = {"csrf_token": token, "confirmed": "1"}, {"referer": f"{url}/floods"}
        resubmit = f"{url}/jobs/jobs/{{}}/actions/resubmit"
        done = httpx.post(resubmit.format(mine.id), data=form, cookies=_cookies(page), headers=sender)
        assert (done.status_code, done.headers["location"]) == (303, "/floods")
        # nothing of other people, and nothing without the token of the table
        assert httpx.post(resubmit.format(theirs.id), data=form, cookies=_cookies(page)).status_code == 404
        assert httpx.post(resubmit.format(mine.id), cookies=_cookies(page)).status_code == 403
        # an async view
        assert "<button form=" in httpx.get(f"{url}/later", cookies=_cookies(page)).text
        mine.handle.refresh()
        mine.update_status("Error")
        expect(row.locator(".pj-status")).to_contain_text("Error")
        row.locator("details.pj-menu > summary").click()
        row.get_by_role("button", name="Delete", exact=True).click()
        page.locator("dialog").get_by_role("button", name="Delete", exact=True).click()
        expect(row).to_have_count(0)
    assert httpx.get(f"{url}/jobs/").status_code == 401
    assert "No Jobs" in httpx.get(f"{url}/floods").text
