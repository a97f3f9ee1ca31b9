"""What ``check`` and ``rewrite`` believe of ``prefect_jobs.tethys`` is so."""

from pathlib import Path

import pytest

from prefect_jobs import tethys
from prefect_jobs.tethys.__main__ import main
from prefect_jobs.tethys.move.names import KNOWN, MODULES, NOT_YET


def test_they_know_the_names_that_are_there_and_no_others() -> None:
    assert set(tethys.__all__) == KNOWN - NOT_YET
    assert set().union(*MODULES.values()) == KNOWN - NOT_YET


def test_names_that_are_not_there_yet_stay_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "from tethys_sdk.gizmos import JobsTable\nfrom tethys_sdk.gizmos import CustomJobAction, MapView\n"
    (tmp_path / "app.py").write_text(text)
    assert main(["check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    for name in sorted(NOT_YET):
        assert f"{name}: prefect_jobs.tethys does not have it yet" in out
    main(["rewrite", str(tmp_path), "--write"])
    assert (tmp_path / "app.py").read_text() == text
    (tmp_path / "app.py").write_text("from prefect_jobs.tethys import JobsTable\n")
    assert main(["check", str(tmp_path)]) == 1 and "JobsTable: prefect_jobs" in capsys.readouterr().out
