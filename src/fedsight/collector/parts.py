"""The parts of one running collector, put together."""

from __future__ import annotations

import time

from fedsight.collector.access import Access, Tokens
from fedsight.collector.hub import Hub
from fedsight.collector.indexer import Indexer
from fedsight.collector.ingest import Ingest
from fedsight.collector.journals import Journals
from fedsight.collector.mirrors.influx import InfluxMirror
from fedsight.collector.producer import Producers
from fedsight.collector.settings import MB, Settings
from fedsight.collector.watch import FolderWatch
from fedsight.store import Store


class Parts:
    """Everything that handlers need. `ingest` and `producers` are None in `view`, which takes nothing in.

    Opening raises `StoreError` when the index can't be had, `UsageError` for a damaged tokens file.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started_at = time.time()
        self.tokens = Tokens(settings.tokens) if settings.tokens is not None else None
        if self.tokens is not None:
            self.tokens.grants()  # a damaged file is said now, not at the first request
        self.access = Access(
            self.tokens, on_loopback=settings.on_loopback, open_reads=settings.open_reads, open_logs=settings.open_logs
        )
        settings.index.parent.mkdir(parents=True, exist_ok=True)
        self.store = Store.open(settings.index, memory_limit_mb=settings.memory_limit_mb)
        self.hub = Hub(self.store)
        self.indexer = Indexer(
            self.store,
            self.hub.committed,
            max_queue_bytes=settings.max_queue_mb * MB,
            watch=FolderWatch(settings.journals) if settings.mode == "view" else None,
        )
        self.ingest: Ingest | None = None
        self.producers: Producers | None = None
        self.mirror: InfluxMirror | None = None
        if settings.mode == "serve":
            journals = Journals(settings.journals)
            for copy in journals.all():
                self.indexer.grown(copy.path, copy.header, copy.length, copy.changed_at or self.started_at)
            self.ingest = Ingest(settings, journals, self.indexer)
            self.producers = Producers(journals, self.indexer)
            self.mirror = _mirror(settings, journals)

    def start(self) -> None:
        """Begin to index and to tell of news. Called in the event loop."""
        self.hub.start()
        self.indexer.start()
        if self.mirror is not None:
            self.mirror.start()

    def stop(self) -> None:
        """End cleanly: the commit under way is finished, all acknowledged bytes are on disk anyway.

        The hub is closed before, in the event loop; this may be called in any thread.
        """
        if self.mirror is not None:
            self.mirror.stop()
        self.indexer.stop()
        self.store.close()


def _mirror(settings: Settings, journals: Journals) -> InfluxMirror | None:
    """The mirror in InfluxDB, where one is configured."""
    if settings.influxdb is None:
        return None
    return InfluxMirror(
        settings.influxdb,
        settings.influxdb_database,
        journals,
        settings.folder / "mirrors" / "influxdb.json",
        username=settings.influxdb_username,
        password=settings.influxdb_password,
    )
