#!/bin/sh
# Everything that must hold before a change lands. All of it runs, even after a failure; pytest's summary comes last.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export PATH
# Hundreds of processes start: what one has compiled, the others need not.
unset PYTHONDONTWRITEBYTECODE

failed=
step() {
    title=$1
    shift
    printf '\n=== %s\n' "$title"
    "$@" || failed="$failed${failed:+, }$title"
}

cleaned() {
    # shellcheck disable=SC2086 # several words are meant
    kill ${mypy:-} ${compiled:-} 2>/dev/null
    # It stops its services first. Ctrl-C at a terminal reaches it without this.
    [ -z "${light:-}" ] || { [ -n "${interrupted:-}" ] || kill -INT "$light"; wait "$light"; } 2>/dev/null
    kill ${forks:-} 2>/dev/null
    # What ends may still write.
    wait
    for try in 1 2 3; do
        rm -rf ${beside:+"$beside"} ${memory:+"$memory"} 2>/dev/null && break
        sleep "$try"
    done
}
trap cleaned EXIT
trap 'interrupted=yes; exit 130' INT
trap 'exit 143' TERM HUP QUIT PIPE

# Databases and queues are written through to the disk at each change: where there is much room in memory, and programs
# may run there, they are there. Daemons of the tests run as another user, who must reach them.
room=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
if [ -z "${TMPDIR:-}" ] && [ "${room:-0}" -gt 8000000 ] && memory=$(mktemp -d /dev/shm/tests-XXXXXX); then
    printf '#!/bin/sh\n' >"$memory/program"
    chmod 755 "$memory/program"
    if "$memory/program" 2>/dev/null; then
        chmod 1777 "$memory"
        export TMPDIR="$memory"
    fi
fi

# What runs beside other steps is shown when they are over.
beside=$(mktemp -d)

# Programs that tests start are forked from these, which have imported what they need; so are the processes that run
# the tests.
mkdir "$beside/forks"
TEST_FORKS="$beside/forks"
export TEST_FORKS
python -m tests.forks "$TEST_FORKS" </dev/null &
forks=$!

mypy >"$beside/mypy" 2>&1 &
mypy=$!

# They listen before they have imported anything. Without them, each process has its own.
for try in $(seq 40); do
    [ -S "$TEST_FORKS/DASK" ] && break
    sleep 0.25
done
python=./tests/forked_python.py
[ -S "$TEST_FORKS/DASK" ] || { unset TEST_FORKS; python=python; }

# The first time, five processes would compile the same tests and packages side by side. Errors show in the passes below.
if [ ! -d tests/acceptance/__pycache__ ] || [ ! -e .venv/compiled ]; then
    "$python" -m pytest -q --collect-only tests >/dev/null 2>&1 &
    compiled=$!
fi

typed() {
    wait "$mypy"
    status=$?
    mypy=
    cat "$beside/mypy"
    return "$status"
}

step 'ruff format' ruff format --check .
step 'ruff check' ruff check .
step 'lint-imports' lint-imports
if [ -n "$failed" ]; then
    printf '\n=== Failed so far: %s\n' "$failed"
fi

if [ -n "${compiled:-}" ]; then
    wait "$compiled"
    compiled=
    : >.venv/compiled
fi

# Most tests wait for somebody else's clock, so two processes share a core. Each has a pool, a Prefect server, a
# PostgreSQL and a Dask cluster of its own, about 1 GB. WORKERS=…: so many.
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
workers=${WORKERS:-$((cores > 4 ? 8 : 2 * cores))}
spread="--dist loadfile --no-loadscope-reorder"
ran=

# So many processes, forked, too: --tx is what pytest's -n stands for.
processes() {
    printf -- '--tx=%s*popen//python=%s' "$1" "$python"
}

tests() {
    title=$1
    shift
    printf '\n=== pytest, %s\n' "$title"
    status=0
    "$@" || status=$?
    case $status in
        0) ran=yes ;;
        5) ;; # none of these was asked for
        *) ran=yes failed="$failed${failed:+, }pytest, $title" ;;
    esac
}

# One more process runs these, with what the others leave of the cores.
TEST_WORKER=gw8 "$python" -c 'import pytest, sys; sys.exit(pytest.main())' tests/unit tests/integration \
    -m 'not alone' "$@" >"$beside/light" 2>&1 &
light=$!

light_tests() {
    wait "$light"
    status=$?
    light=
    cat "$beside/light"
    return "$status"
}

# shellcheck disable=SC2086
tests acceptance pytest tests/acceptance -m 'not alone' "$(processes "$workers")" $spread --durations=20 "$@"
tests 'unit and integration' light_tests
step 'mypy' typed
# Each has a core for itself. To collect the others would take seconds.
# shellcheck disable=SC2046
tests 'what measures time, alone' pytest $(grep -rl 'mark\.alone' tests --include='test_*.py' | sort) -m alone \
    "$(processes "$((cores > 1 ? 2 : 1))")" --dist load --maxschedchunk 1 --durations=5 "$@"
if [ -z "$ran" ]; then
    failed="$failed${failed:+, }pytest: no test was run"
fi

if [ -n "$failed" ]; then
    printf '\nFailed: %s\n' "$failed" >&2
    exit 1
fi
