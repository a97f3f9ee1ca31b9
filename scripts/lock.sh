#!/bin/sh
# Writes the requirements files anew from pyproject.toml. Versions stay as they are where they still fit;
# `scripts/lock.sh --upgrade` takes the newest ones.
set -eu
cd "$(dirname "$0")/.."

tools=.venv-tools
if [ ! -x "$tools/bin/uv" ]; then
    "$(scripts/find-python.sh)" -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.8'
fi

compile() {
    echo "Locking $1"
    file=$1
    shift
    # No address of an index may come into the files: each machine has its own.
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --output-file "$file" "$@"
}

# The largest first; the others keep to its versions, so that one environment can have all of them.
compile requirements-dev.txt pyproject.toml --group dev "$@"
compile requirements.txt pyproject.toml --constraints requirements-dev.txt
compile requirements-setup.txt --group setup --constraints requirements-dev.txt
# Anew each time: the lowest versions do not depend on what was locked before.
rm -f requirements-lowest.txt
compile requirements-lowest.txt pyproject.toml --group dev --resolution lowest-direct
