"""The questions that the API, the exports and the dashboard ask.

Plain functions, safe in any thread: each reads one snapshot, and its answer's `as_of` names the commit it saw.
"""

from fedsight.store.queries.changes import Changes, changes
from fedsight.store.queries.clients import clients
from fedsight.store.queries.components import Component, Components, components
from fedsight.store.queries.events import dead_letters, events
from fedsight.store.queries.fl_metrics import FlMetrics, fl_metrics, newest_run, slope
from fedsight.store.queries.network import Performance, Topologies, Topology, performance, topologies
from fedsight.store.queries.news import Feed, Item, News, news
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
from fedsight.store.queries.told import told
from fedsight.store.queries.updates import updates

__all__ = [
    "Changes",
    "Component",
    "Components",
    "Feed",
    "FlMetrics",
    "Item",
    "JournalInfo",
    "MetricNames",
    "News",
    "Performance",
    "RunDetail",
    "StepKey",
    "StoreStatus",
    "Table",
    "Topologies",
    "Topology",
    "changes",
    "clients",
    "components",
    "dead_letters",
    "events",
    "fl_metrics",
    "metric_names",
    "newest_run",
    "news",
    "nodes",
    "performance",
    "rounds",
    "run",
    "runs",
    "samples",
    "series",
    "slope",
    "status",
    "told",
    "topologies",
    "updates",
]
