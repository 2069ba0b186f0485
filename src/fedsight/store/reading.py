"""How client updates are read: where server and site both told of a client, as one row."""

from __future__ import annotations

from collections.abc import Sequence

BOTH = 3
"""`runs.told_by` of a run of which sites and server told updates."""

SITE_FIRST = {"site_ts": "ts", "site_source": "source"}
"""Names for when an update was told and by whom where the site's word, and its clock, counts before the server's."""


def updates_sql(names: Sequence[str], where: str, told_by: int) -> str:
    """SQL for the updates that match `where`, a row for each client and round.

    `where` speaks of columns of `client_updates` that name the row (run_no, round, client_no), by literals.
    `names` are columns of it, or of `SITE_FIRST`. `extra` comes as one or two lines of JSON, the site's before the server's.
    """
    if told_by != BOTH:
        stored = (f"{SITE_FIRST[name]} AS {name}" if name in SITE_FIRST else name for name in names)
        return f"SELECT {', '.join(stored)} FROM client_updates WHERE {where}"
    return (
        f"SELECT {', '.join(f'{_merged(name)} AS {name}' for name in names)} "
        f"FROM (SELECT * FROM client_updates WHERE {where} AND source = 1) s "
        f"FULL JOIN (SELECT * FROM client_updates WHERE {where} AND source = 0) c "
        "ON s.round = c.round AND s.client_no = c.client_no"
    )


def _merged(name: str) -> str:
    if name == "metrics":
        return (
            "CASE WHEN s.metrics IS NULL THEN c.metrics WHEN c.metrics IS NULL THEN s.metrics "
            "ELSE map_concat(c.metrics, s.metrics) END"
        )
    if name == "extra":
        return "nullif(concat_ws(chr(10), c.extra, s.extra), '')"
    if name in SITE_FIRST:
        return f"coalesce(c.{SITE_FIRST[name]}, s.{SITE_FIRST[name]})"
    return f"coalesce(s.{name}, c.{name})"
