"""Alembic's entry point, run only by :meth:`prefect_jobs.store.database.Database.upgrade`."""

from alembic import context

from prefect_jobs.store.tables import METADATA, VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True, version_table=VERSION_TABLE)
# The caller has the transaction: the schema and its version are committed together.
context.run_migrations()
