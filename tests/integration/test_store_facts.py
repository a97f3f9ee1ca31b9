"""Facts about the database, and what its errors tell."""

from secrets import token_hex
from traceback import format_exception

import pytest
from sqlalchemy import insert, text

from prefect_jobs import clock
from prefect_jobs.store import Database, DatabaseError, Store
from prefect_jobs.store.tables import CHECKS, LEASES


def test_the_identity_stays_with_the_database(store: Store, database_url: str) -> None:
    identity = store.identity
    again = Database(database_url)

    assert identity
    assert Store(again).identity == identity
    again.dispose()


def test_a_fact_is_made_by_whoever_asks_first(store: Store) -> None:
    assert store.meta("secret_key", lambda: "first") == "first"
    assert store.meta("secret_key", lambda: "second") == "first"
    assert store.meta("other", lambda: "third") == "third"


def test_what_is_written_shows_in_no_error(store: Store) -> None:
    secret = token_hex()

    with pytest.raises(DatabaseError) as caught, store.database.writing() as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": secret})

    assert "nowhere" in str(caught.value)
    assert secret not in "".join(format_exception(caught.value))


def test_a_row_that_contradicts_another_is_an_error_of_the_database(store: Store) -> None:
    values = {"name": "a lease", "owner": "alice", "until": clock.now()}
    with store.database.writing() as connection:
        connection.execute(insert(LEASES).values(**values))
    with pytest.raises(DatabaseError, match="refuses a row"), store.database.writing() as connection:
        connection.execute(insert(LEASES).values(**values))
    with pytest.raises(DatabaseError, match="refuses a row"), store.database.writing() as connection:
        connection.execute(insert(CHECKS).values(job_id=10**6, due=clock.now()))
