"""Settings: read from the environment or a .env file; a bad one stops the program with its variable's name."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from traceback import format_exception

import pytest

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import SettingsError, get_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings but those of the test, read anew."""
    for name in [name for name in os.environ if name.upper().startswith("PREFECT_JOBS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("given", "base"),
    [(None, "home/prefect-jobs-workspace"), ("runs", "home/runs"), ("{tmp}/data", "data")],
)
def test_the_workspace_never_depends_on_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None, base: str
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    if given is not None:
        monkeypatch.setenv("PREFECT_JOBS_WORKSPACE", given.format(tmp=tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    runtime = Runtime(get_settings().model_copy(update={"database_url": "sqlite:///unused.db"}))
    try:
        assert runtime.site.default_workspace("an_app", "alice") == str(tmp_path / base / "an_app" / "alice")
    finally:
        runtime.close()


def test_without_any_setting_there_are_defaults() -> None:
    settings = get_settings()

    assert settings.database_url is None
    assert settings.public_url is None
    assert settings.poll_interval == 2
    assert settings.held_timeout is None
    assert settings.retention is None
    assert settings.result_size_limit == 10 * 1024 * 1024
    assert settings.callback_secret is None
    assert settings.secret_key is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("DATABASE_URL", "sqlite:////data/jobs.db", "sqlite:////data/jobs.db"),
        ("DATABASE_URL", "postgresql+psycopg://alice:x@db/jobs", "postgresql+psycopg://alice:x@db/jobs"),
        ("WORKSPACE", "/data/work space", Path("/data/work space")),
        ("PUBLIC_URL", "https://jobs.example.org/portal/", "https://jobs.example.org/portal"),
        ("PUBLIC_URL", "http://[::1]:8000", "http://[::1]:8000"),
        ("POLL_INTERVAL", "0.5", 0.5),
        ("HELD_TIMEOUT", "3600", 3600),
        ("RESULT_SIZE_LIMIT", "1024", 1024),
        ("RETENTION", "30d", timedelta(days=30)),
        ("RETENTION", "1.5 h", timedelta(minutes=90)),
        ("RETENTION", "604800", timedelta(weeks=1)),
    ],
)
def test_a_setting_comes_from_the_environment_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"PREFECT_JOBS_{name}", text)
    assert getattr(get_settings(), name.lower()) == value

    monkeypatch.delenv(f"PREFECT_JOBS_{name}")
    (tmp_path / ".env").write_text(f'PREFECT_JOBS_{name}="{text}"\nPREFECT_API_URL=http://other\n')
    get_settings.cache_clear()
    assert getattr(get_settings(), name.lower()) == value


def test_the_environment_comes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PREFECT_JOBS_POLL_INTERVAL=5\nPREFECT_JOBS_HELD_TIMEOUT=7\n")
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "6")

    assert (get_settings().poll_interval, get_settings().held_timeout) == (6, 7)


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "PUBLIC_URL", "POLL_INTERVAL", "HELD_TIMEOUT", "CALLBACK_SECRET", "WORKSPACE"):
        monkeypatch.setenv(f"PREFECT_JOBS_{name}", "")

    assert get_settings().poll_interval == 2
    assert get_settings().callback_secret is None


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "6")

    assert get_settings() is first


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_JOBS_DATABASE_URL", "postgresql+psycopg://alice:s3cr3t-1@db/jobs")
    monkeypatch.setenv("PREFECT_JOBS_CALLBACK_SECRET", "s3cr3t-2")
    monkeypatch.setenv("PREFECT_JOBS_SECRET_KEY", "s3cr3t-3")
    settings = get_settings()

    assert "s3cr3t" not in f"{settings!r} {settings}"
    assert settings.callback_secret is not None
    assert settings.callback_secret.get_secret_value() == "s3cr3t-2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "s3cr3t"),
        ("DATABASE_URL", "mysql://alice:s3cr3t@db/jobs"),
        ("DATABASE_URL", "postgresql://alice:s3cr3t@db/jobs"),
        ("DATABASE_URL", "postgres://alice:s3cr3t@db/jobs"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("PUBLIC_URL", "jobs.s3cr3t.org"),
        ("PUBLIC_URL", "ftp://jobs.s3cr3t.org"),
        ("PUBLIC_URL", "http://"),
        ("PUBLIC_URL", "https:///s3cr3t"),
        ("PUBLIC_URL", "http://jobs:s3cr3t"),
        ("PUBLIC_URL", "http://[::s3cr3t"),
        ("PUBLIC_URL", "https://jobs.org/?token=s3cr3t"),
        ("PUBLIC_URL", "https://jobs.org/#s3cr3t"),
        ("POLL_INTERVAL", "s3cr3t"),
        ("POLL_INTERVAL", "0"),
        ("POLL_INTERVAL", "-1"),
        ("POLL_INTERVAL", "3601"),
        ("POLL_INTERVAL", "nan"),
        ("POLL_INTERVAL", "inf"),
        ("HELD_TIMEOUT", "0"),
        ("HELD_TIMEOUT", "s3cr3t"),
        ("HELD_TIMEOUT", "nan"),
        ("HELD_TIMEOUT", "inf"),
        ("RESULT_SIZE_LIMIT", "0"),
        ("RESULT_SIZE_LIMIT", "10 MiB"),
        ("RESULT_SIZE_LIMIT", "1.5"),
        ("RESULT_SIZE_LIMIT", "s3cr3t"),
        ("RETENTION", "s3cr3t"),
        ("RETENTION", "0"),
        ("RETENTION", "-1d"),
        ("RETENTION", "30 years"),
        ("RETENTION", "nan"),
        ("RETENTION", "999999999w"),
    ],
)
def test_a_bad_value_names_its_variable_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PREFECT_JOBS_{name}", value)

    with pytest.raises(SettingsError, match=f"PREFECT_JOBS_{name}: .+") as caught:
        get_settings()

    assert isinstance(caught.value, PrefectJobsError)
    assert "s3cr3t" not in "".join(format_exception(caught.value))


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "often")
    monkeypatch.setenv("PREFECT_JOBS_PUBLIC_URL", "here")

    with pytest.raises(SettingsError, match="POLL_INTERVAL") as caught:
        get_settings()

    assert "PREFECT_JOBS_PUBLIC_URL: " in str(caught.value)


def test_a_bad_value_can_be_mended_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "often")
    with pytest.raises(SettingsError):
        get_settings()
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "3")

    assert get_settings().poll_interval == 3


def test_a_bad_value_in_the_file_names_its_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PREFECT_JOBS_POLL_INTERVAL=often\n")

    with pytest.raises(SettingsError, match="PREFECT_JOBS_POLL_INTERVAL"):
        get_settings()


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PREFECT_JOBS_SECRET_KEY=\xff\xfe\n")

    with pytest.raises(SettingsError, match=r"\.env"):
        get_settings()
