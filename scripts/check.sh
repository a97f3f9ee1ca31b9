#!/bin/sh
# Everything that must hold before a change lands. All of it runs, even after a failure; pytest's summary comes last.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export PATH

failed=
step() {
    title=$1
    shift
    printf '\n=== %s\n' "$title"
    "$@" || failed="$failed${failed:+, }$title"
}

step 'ruff format' ruff format --check .
step 'ruff check' ruff check .
step 'mypy' mypy
step 'lint-imports' lint-imports
if [ -n "$failed" ]; then
    printf '\n=== Failed so far: %s\n' "$failed"
fi

tiers=
for tier in tests/unit tests/integration tests/acceptance; do
    if [ -d "$tier" ]; then
        tiers="$tiers $tier"
    fi
done
# shellcheck disable=SC2086 # several words are meant
step 'pytest' pytest $tiers "$@"

if [ -n "$failed" ]; then
    printf '\nFailed: %s\n' "$failed" >&2
    exit 1
fi
