"""What silence says of a run that never ended: its writer may be lost, or known to be dead."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import duckdb

from fedsight.store.rows import Cursor

LOST_AFTER_SEC = 30.0
"""A run whose server has been silent for longer is `lost`."""


def run_states(
    con: duckdb.DuckDBPyConnection,
    cursors: Mapping[str, Cursor],
    gone: Collection[str],
    now: float,
    listening_since: float,
) -> dict[str, str]:
    """The states to change, by run_id, of runs that have not ended.

    Only journals of the server count: `killed` when the writers of all of them are dead, `lost` when all
    have been silent, `running` when one has been heard of. Nobody is silent before we have listened for as
    long: until then, and where no server has told of a run, its state stays as it is.
    """
    journals: dict[tuple[str, str], list[str]] = defaultdict(list)
    for run_id, state, journal in con.execute(
        "SELECT r.run_id, r.state, j.journal FROM runs r JOIN journals j USING (run_no) "
        "WHERE NOT r.ended AND j.role = 'server'"
    ).fetchall():
        journals[run_id, state].append(journal)
    changes = {}
    for (run_id, state), names in journals.items():
        if all(name in gone for name in names):
            new = "killed"
        elif any(now - cursors[name].last_contact <= LOST_AFTER_SEC for name in names):
            new = "running"
        elif now - listening_since > LOST_AFTER_SEC:
            new = "killed" if state == "killed" else "lost"
        else:
            new = state
        if new != state:
            changes[run_id] = new
    return changes
