"""The rules for the jobs table, which ``prefect_jobs.tethys`` does not have yet, are tested as if it had it."""

from collections.abc import Iterator

import pytest

from prefect_jobs.tethys.move import names
from prefect_jobs.tethys.move.rules import imports


@pytest.fixture(autouse=True, scope="module")
def the_table_is_there() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imports, "NOT_YET", frozenset())
        for module, known in names.MODULES.items():
            if "gizmo" in module or known == names.KNOWN - names.NOT_YET:
                patch.setitem(names.MODULES, module, known | names.NOT_YET)
        yield
