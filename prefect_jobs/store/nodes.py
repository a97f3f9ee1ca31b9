"""The nodes of workflows: one row each, since a workflow may have thousands, of which few change at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update

from prefect_jobs.records import NodeRecord
from prefect_jobs.store.database import Database
from prefect_jobs.store.errors import job_gone
from prefect_jobs.store.tables import JOBS, NODES
from prefect_jobs.store.values import clean, storable

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_FIELDS = tuple(item.name for item in fields(NodeRecord))
_COLUMNS = [getattr(NODES.c, name) for name in _FIELDS]
#: The columns that the user sets; the others are observed, and belong to ``Change.nodes``.
_WANTED = ("spec", "position")
_OBSERVED = ("status", "message", "native", "seq")
_WITH_BEHIND = (
    select(NODES.c.job_id)
    .where(NODES.c.job_id.in_(bindparam("ids", expanding=True)), NODES.c.shown < NODES.c.seq)
    .distinct()
)


class NodeStore:
    """The nodes in one database; a part of :class:`prefect_jobs.store.store.Store`."""

    database: Database

    def nodes(self, job_id: int) -> list[NodeRecord]:
        """The nodes of a job, in their order of addition."""
        return self._nodes(NODES.c.job_id == job_id)

    def save_nodes(self, job_id: int, nodes: Sequence[NodeRecord]) -> None:
        """Writes the specs of nodes: new nodes as a whole, only ``spec`` and ``position`` of existing ones.

        Raises:
            JobGone: the job was deleted.
            ValueError: a node cannot be stored; the message names it.
        """
        rows = [{"job_id": job_id, **_storable(node, _FIELDS)} for node in nodes]
        with self.database.writing() as connection:
            if not _lock_job(connection, job_id):
                raise job_gone(job_id)
            if rows:
                connection.execute(_upsert(connection.dialect.name), rows)

    def delete_node(self, job_id: int, name: str) -> None:
        """Removes a node, if there is one of this name."""
        with self.database.writing() as connection:
            connection.execute(delete(NODES).where(NODES.c.job_id == job_id, NODES.c.name == clean(name)))

    def nodes_behind(self, job_id: int, limit: int) -> list[NodeRecord]:
        """Nodes that are behind, the first ones first."""
        return self._nodes(NODES.c.job_id == job_id, NODES.c.shown < NODES.c.seq, limit=limit)

    def with_nodes_behind(self, job_ids: Sequence[int]) -> set[int]:
        """The jobs that have nodes that are behind."""
        with self.database.reading() as connection:
            return set(connection.execute(_WITH_BEHIND, {"ids": list(job_ids)}).scalars())

    def count_nodes_behind(self, job_id: int) -> int:
        """The number of nodes that are behind."""
        behind = select(func.count()).select_from(NODES).where(NODES.c.job_id == job_id, NODES.c.shown < NODES.c.seq)
        with self.database.reading() as connection:
            return int(connection.execute(behind).scalar_one())

    def nodes_shown(self, job_id: int, shown: Mapping[str, int]) -> None:
        """Notes the last change that Prefect shows of each node, by name; a later one that is noted stays."""
        if not shown:
            return
        noted = update(NODES).where(
            NODES.c.job_id == job_id, NODES.c.name == bindparam("node_name"), NODES.c.shown < bindparam("shown_to")
        )
        with self.database.writing() as connection:
            if _lock_job(connection, job_id):
                connection.execute(
                    noted.values(shown=bindparam("shown_to")),
                    [{"node_name": clean(name), "shown_to": number} for name, number in shown.items()],
                )

    def _nodes(self, *where: ColumnElement[bool], limit: int | None = None) -> list[NodeRecord]:
        statement = select(*_COLUMNS).where(*where).order_by(NODES.c.position, NODES.c.name).limit(limit)
        with self.database.reading() as connection:
            return [NodeRecord(*row) for row in connection.execute(statement)]


def observed_rows(nodes: Sequence[NodeRecord]) -> list[dict[str, Any]]:
    """The rows for :func:`write_observed`.

    Raises:
        ValueError: a node cannot be stored; the message names it.
    """
    return [{"node_name": clean(node.name), **_storable(node, _OBSERVED)} for node in nodes]


def write_observed(connection: Connection, job_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the observed values of nodes. The caller has written the job's own row in this transaction, which locks
    the nodes; a node that was deleted meanwhile stays deleted."""
    if rows:
        known = update(NODES).where(NODES.c.job_id == job_id, NODES.c.name == bindparam("node_name"))
        connection.execute(known.values({name: bindparam(name) for name in _OBSERVED}), rows)


def _lock_job(connection: Connection, job_id: int) -> bool:
    """Whether the job exists; locks its row until the end of this transaction. A writer of several nodes takes this
    lock first: two writers that lock nodes in different orders would wait for each other."""
    job = select(JOBS.c.id).where(JOBS.c.id == job_id).with_for_update(key_share=True)
    return connection.execute(job).first() is not None


def _upsert(dialect: str) -> "sqlite.Insert | postgresql.Insert":
    key = [NODES.c.job_id, NODES.c.name]
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        lite = sqlite.insert(NODES)
        return lite.on_conflict_do_update(index_elements=key, set_={name: lite.excluded[name] for name in _WANTED})
    from sqlalchemy.dialects import postgresql

    full = postgresql.insert(NODES)
    return full.on_conflict_do_update(index_elements=key, set_={name: full.excluded[name] for name in _WANTED})


def _storable(node: NodeRecord, names: Sequence[str]) -> dict[str, Any]:
    try:
        return storable({name: getattr(node, name) for name in names})
    except ValueError as error:
        raise ValueError(f"Of the node {node.name!r}, {error}") from error
