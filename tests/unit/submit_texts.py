"""Submit descriptions as a second reader sees them, and as HTCondor itself does."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_jobs.schedulers.condor.submit.description import Description, Request, describe

JOB = Path("/data/job")
SH = {"executable": "/bin/sh"}


def description(attributes: Mapping[str, Any] = SH, **more: Any) -> Description:
    return describe(Request(name="a job", attributes={**SH, **attributes}, directory=JOB, **more))


def commands(attributes: Mapping[str, Any] = SH, **more: Any) -> dict[str, str]:
    """The commands of a description, by a reader of our own."""
    found: dict[str, str] = {}
    for line in description(attributes, **more).text.splitlines():
        name, separator, value = line.partition(" = ")
        assert separator
        assert name not in found
        found[name] = value
    return found


def read_words(text: str) -> list[str]:
    """A second reading of the manual's rules for the new syntax of arguments (condor_submit, "arguments")."""
    assert text.startswith('"')
    assert text.endswith('"')
    inner = text[1:-1].replace('""', "\0")
    assert '"' not in inner
    found: list[str] = []
    word: str | None = None
    quoted = False
    position = 0
    while position < len(inner):
        letter = inner[position]
        position += 1
        if quoted and inner[position - 1 : position + 1] == "''":
            word = (word or "") + "'"
            position += 1
        elif letter == "'":
            quoted, word = not quoted, word or ""
        elif letter in " \t\v\f\r\n" and not quoted:
            if word is not None:
                found.append(word)
            word = None
        else:
            word = (word or "") + letter
    assert not quoted
    return [item.replace("\0", '"') for item in (found if word is None else [*found, word])]


def htcondor(script: str, data: Any) -> Any:
    """What HTCondor's bindings say, in a process of their own, as everywhere."""
    prelude = "import json, sys, classad2, htcondor2\ndata = json.load(sys.stdin)\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{prelude}{script}\njson.dump(answer, sys.stdout)"],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        env={"CONDOR_CONFIG": "/dev/null"},
        check=True,
    )
    return json.loads(done.stdout)
