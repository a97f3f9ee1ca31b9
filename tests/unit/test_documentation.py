"""The code in the documentation runs."""

import subprocess
import sys
from pathlib import Path

from tests.support import code_in


def test_the_tests_of_an_app_pass(tmp_path: Path) -> None:
    (block,) = code_in("testing.md")
    (tmp_path / "test_hydrology.py").write_text(block)

    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hydrology.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert "5 passed" in done.stdout, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["test_hydrology.py"]
