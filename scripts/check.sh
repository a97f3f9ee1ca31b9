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
    # They stop their services first. Ctrl-C at a terminal reaches them without this.
    for passes in ${integration:-} ${unit:-}; do
        [ -n "${interrupted:-}" ] || kill -INT "$passes"
        wait "$passes"
    done 2>/dev/null
    # xdist waits ten seconds for its workers.
    for pid in $(cat "${outputs:-}/forks/pids" 2>/dev/null); do
        for try in $(seq 60); do
            case $(cut -d ' ' -f 3 "/proc/$pid/stat" 2>/dev/null) in '' | Z) break ;; esac
            sleep 1
        done
    done
    kill ${forks:-} 2>/dev/null
    # What ends may still write.
    wait
    for try in 1 2 3; do
        rm -rf ${outputs:+"$outputs"} ${memory:+"$memory"} 2>/dev/null && break
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
outputs=$(mktemp -d)

# Programs that tests start are forked from these, which have imported what they need; so are the processes that run
# the tests.
for name in $(env | sed -n 's/^\(PREFECT_[A-Z_]*\)=.*/\1/p'); do
    case $name in PREFECT_JOBS_CACHE | PREFECT_JOBS_SOAK*) ;; *) unset "$name" ;; esac
done
export PREFECT_HOME="$outputs/prefect"
mkdir "$outputs/forks"
TEST_FORKS="$outputs/forks"
export TEST_FORKS
python -m tests.forks "$TEST_FORKS" </dev/null &
forks=$!

nice mypy >"$outputs/mypy" 2>&1 &
mypy=$!

# They listen before they have imported anything. Without them, each process has its own.
for try in $(seq 40); do
    [ -S "$TEST_FORKS/DASK" ] && break
    sleep 0.25
done
python=./tests/forked_python.py
[ -S "$TEST_FORKS/DASK" ] || { unset TEST_FORKS; python=python; }

# Unit tests wait for nothing: they, and mypy, use what the others leave of the cores. Integration tests wait, too. What
# answers the tests comes first: calls wait three seconds for Prefect.
beside='import os, pytest, sys; os.nice(int(sys.argv.pop(1))); sys.exit(pytest.main())'
TEST_FIRST_WORKER=16 "$python" -c "$beside" 3 tests/integration -m 'not alone' "$@" >"$outputs/integration" 2>&1 &
integration=$!
TEST_FIRST_WORKER=20 "$python" -c "$beside" 15 tests/unit -m 'not alone' "$@" >"$outputs/unit" 2>&1 &
unit=$!

# The first time, all workers would compile the same tests and packages side by side. Errors show in the pass below.
if [ ! -d tests/acceptance/__pycache__ ] || [ ! -e .venv/compiled ]; then
    "$python" -m pytest -q --collect-only tests/acceptance >/dev/null 2>&1 &
    compiled=$!
fi

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

# Most tests wait for services, so processes share a core. Each has a pool, a Prefect server, a PostgreSQL
# and a Dask cluster of its own, about 1 GB. WORKERS=…: so many.
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
workers=${WORKERS:-$((cores > 2 ? 8 : 3 * cores))}
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

over() {
    wait "$2"
    status=$?
    cat "$outputs/$1"
    return "$status"
}

# shellcheck disable=SC2086
tests acceptance env TEST_NICE=3 pytest tests/acceptance -m 'not alone' "$(processes "$workers")" $spread --durations=20 "$@"
tests integration over integration "$integration"
integration=
tests unit over unit "$unit"
unit=
step mypy over mypy "$mypy"
mypy=
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
