"""Prefect's settings and certificates are made once for all clients, and again when they change."""

import ssl
from pathlib import Path

import certifi
import pytest
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from prefect_jobs.prefect_settings import tls_context, without_retries


def test_settings_without_retries_are_made_once_for_the_same_settings() -> None:
    before, retries = get_current_settings(), PREFECT_CLIENT_MAX_RETRIES.value()
    assert retries > 0
    with without_retries():
        first = get_current_settings()
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 0 and first is not before
    with without_retries():
        assert get_current_settings() is first
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), without_retries():
        assert PREFECT_API_URL.value() == "http://127.0.0.1:9/api" and PREFECT_CLIENT_MAX_RETRIES.value() == 0
    with without_retries():
        assert PREFECT_API_URL.value() != "http://127.0.0.1:9/api"
    assert PREFECT_CLIENT_MAX_RETRIES.value() == retries


def test_certificates_are_read_again_only_if_they_change(tmp_path: Path) -> None:
    first = tls_context()
    assert first is tls_context() and first.verify_mode == ssl.CERT_REQUIRED and first.check_hostname
    own = tmp_path / "own.pem"
    own.write_text(Path(certifi.where()).read_text())
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(own)}):
        second = tls_context()
        assert second is tls_context() and second is not first
        own.write_text("none at all")
        with pytest.raises(ssl.SSLError):
            tls_context()
    with temporary_settings({PREFECT_API_TLS_INSECURE_SKIP_VERIFY: True}):
        assert tls_context().verify_mode == ssl.CERT_NONE and not tls_context().check_hostname
    assert tls_context().verify_mode == ssl.CERT_REQUIRED
