"""The questions that the API, the exports and the dashboard ask.

Plain functions, safe in any thread: each reads one snapshot, and its answer's `as_of` names the commit it saw.
"""

from fedsight.store.queries.changes import Changes, changes
from fedsight.store.queries.clients import clients
from fedsight.store.queries.events import dead_letters, events
from fedsight.store.queries.rounds import rounds
from fedsight.store.queries.runs import (
    JournalInfo,
    MetricNames,
    RunDetail,
    StepKey,
    StoreStatus,
    metric_names,
    run,
    runs,
    status,
)
from fedsight.store.queries.samples import nodes, samples
from fedsight.store.queries.series import series
from fedsight.store.queries.snapshot import Table
from fedsight.store.queries.updates import updates

__all__ = [
    "Changes",
    "JournalInfo",
    "MetricNames",
    "RunDetail",
    "StepKey",
    "StoreStatus",
    "Table",
    "changes",
    "clients",
    "dead_letters",
    "events",
    "metric_names",
    "nodes",
    "rounds",
    "run",
    "runs",
    "samples",
    "series",
    "status",
    "updates",
]
