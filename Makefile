# The two commands of a fresh machine: `make demo` and `make test`. CONTRIBUTING.md tells about the others.

# PYTHON=…: the Python to use; ARGS=…: more arguments for pytest, such as ARGS="-k dask -x", or for the benchmarks: modules
# (start_up, submissions, monitoring, changes, dask_jobs, workflows), or words in the names of those that are wanted.
# BENCH_DATABASE_URL=…: an empty database on PostgreSQL, to be measured instead of SQLite.
export PYTHON
ARGS =
# SEED=…: of `make soak`, as it was printed by the one that is to be done again.
SEED =
UPGRADE =

# Prefect 3.8.4 leaves a connection open at the end of some flows; the newest one does not.
LEFT_OPEN = -W default::pytest.PytestUnraisableExceptionWarning

SET_UP = python=$$(scripts/find-python.sh) && "$$python" scripts/set_up.py

.PHONY: help demo test test-versions soak bench lock clean

help:
	@echo "make demo    real jobs, on a Prefect server and an HTCondor pool of their own"
	@echo "make test    formatting, lint, types, import rules, all tests"
	@echo "make test-versions   the tests that depend on Prefect's version, on the lowest versions that are supported"
	@echo "make soak    250 jobs while everything around them is killed, for 20 minutes (SEED=…: as in an earlier one)"
	@echo "make bench   how fast it is, into benchmarks/RESULTS.md; takes some minutes of a machine at rest"
	@echo "make lock    requirements files from pyproject.toml (UPGRADE=--upgrade: newest versions)"
	@echo "make clean   removes what these have made"

demo:
	@$(SET_UP)
	@.venv/bin/prefect-jobs demo

test:
	@$(SET_UP) dev
	@scripts/check.sh $(ARGS)

test-versions:
	@python=$$(scripts/find-python.sh) && "$$python" scripts/set_up.py lowest
	@.venv-lowest/bin/python -m pytest tests/unit tests/integration tests/acceptance -m 'prefect and not alone' \
		-n 4 --dist loadfile --no-loadscope-reorder -W default::DeprecationWarning $(LEFT_OPEN) $(ARGS)

soak:
	@$(SET_UP) dev
	@PREFECT_JOBS_SOAK=long PREFECT_JOBS_SOAK_SEED=$(SEED) .venv/bin/pytest -s tests/acceptance/test_soak.py $(ARGS)

bench:
	@$(SET_UP) dev
	@.venv/bin/python -m benchmarks $(ARGS)

lock:
	@scripts/lock.sh $(UPGRADE)

clean:
	rm -rf .venv .venv-lowest .venv-tools .demo dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
