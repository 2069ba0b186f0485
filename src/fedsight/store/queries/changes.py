"""What changed since a commit: what the live stream sends."""

from __future__ import annotations

import msgspec

from fedsight.store.duckdb import Store
from fedsight.store.queries.clients import with_measured
from fedsight.store.queries.events import EVENT_SELECT, with_data
from fedsight.store.queries.places import with_places
from fedsight.store.queries.snapshot import Snapshot, Table, snapshot
from fedsight.store.schema import CLIENT_COLUMNS, ROUND_COLUMNS, RUN_COLUMNS

MAX_ROWS = 2000
"""Rows of one table in one answer (more only where a single commit wrote more)."""


class Changes(msgspec.Struct):
    """The rows whose newest change lies in (since, commit]; None for a table without any.

    `commit` is the version up to which they are complete, and `as_of` says the same; where `more` is true, ask again from there.
    """

    as_of: str
    commit: int
    more: bool
    runs: Table | None = None
    rounds: Table | None = None
    clients: Table | None = None
    events: Table | None = None


def changes(store: Store, since: int, run_id: str | None) -> Changes:
    """Rows changed after commit `since`: runs, and of `run_id` its rounds, clients and events.

    Raises `RunNotFound`.
    """
    selects = {"runs": (", ".join(RUN_COLUMNS), "true")}
    with snapshot(store) as view:
        if run_id is not None:
            run = view.run(run_id)
            of_run = f"run_no = {run.run_no}"
            selects["rounds"] = ", ".join(ROUND_COLUMNS), of_run
            selects["clients"] = ", ".join((*CLIENT_COLUMNS, "client_no")), of_run
            selects["events"] = EVENT_SELECT, of_run
        newest = view.commit
        upto = min(_complete_to(view, table, where, since, newest) for table, (_, where) in selects.items())
        answer = Changes(f"{view.as_of.rsplit('-', 1)[0]}-{upto}", upto, upto < newest)
        for table, (names, where) in selects.items():
            found = view.columns(
                f"SELECT {names} FROM {table} WHERE {where} AND version > {since} AND version <= {upto} "
                f"ORDER BY version, {_ORDER[table]}"
            )
            if next(iter(found.values())):
                if table == "clients":
                    found["measured"] = with_measured(view, run, found, found.pop("client_no"))
                setattr(answer, table, Table(answer.as_of, _COMPLETED.get(table, dict)(found)))
        return answer


_COMPLETED = {"events": with_data, "clients": with_places}
_ORDER = {"runs": "run_no", "rounds": "round", "clients": "client_no", "events": "journal, position"}


def _complete_to(view: Snapshot, table: str, where: str, since: int, newest: int) -> int:
    """The latest commit up to which this table's changed rows fit into one answer."""
    total = 0
    last: int | None = None
    for version, count in view.rows(
        f"SELECT version, count(*) FROM {table} WHERE {where} AND version > {since} GROUP BY version ORDER BY version"
    ):
        total += count
        if total > MAX_ROWS and last is not None:
            return last
        last = version
    return newest
