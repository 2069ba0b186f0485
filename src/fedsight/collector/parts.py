"""The parts of one running collector, put together."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fedsight.collector.access import Access, Tokens
from fedsight.collector.cache import Cache
from fedsight.collector.fanout import Fanout, SharedNewsroom
from fedsight.collector.hub import Hub
from fedsight.collector.indexer import Indexer
from fedsight.collector.ingest import Ingest
from fedsight.collector.journals import Journals
from fedsight.collector.mirrors.influx import InfluxMirror
from fedsight.collector.own_log import OwnLog
from fedsight.collector.producer import Producers
from fedsight.collector.rate_limits import RateLimit
from fedsight.collector.settings import MB, Settings
from fedsight.collector.sources.config import build
from fedsight.collector.sources.runner import Sources
from fedsight.collector.sources.writers import Writers
from fedsight.collector.subscribing import Newsroom
from fedsight.collector.tickets import Tickets
from fedsight.collector.together import Together, finish_batches
from fedsight.collector.traffic_meter import TrafficMeter
from fedsight.collector.watch import FolderWatch
from fedsight.errors import MissingExtra
from fedsight.store import Store

if TYPE_CHECKING:
    from fedsight.collector.redis import RedisLink


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
        self.tickets = Tickets()
        self.traffic = TrafficMeter()
        self.writes = RateLimit(settings.max_writes_per_sec, 2.0)
        self.logins = RateLimit(settings.max_logins_per_min / 60, 60.0)
        settings.index.parent.mkdir(parents=True, exist_ok=True)
        self.store = Store.open(settings.index, memory_limit_mb=settings.memory_limit_mb)
        self.hub = Hub(self.store)
        self.redis = _redis(settings)
        self.cache = Cache(self.redis)
        self.fanout = Fanout(self.store, self.hub, self.redis, self.cache) if self.redis is not None else None
        self.newsroom = (
            Newsroom(self.store, self.hub)
            if self.fanout is None
            else SharedNewsroom(self.store, self.hub, self.fanout.others)
        )
        self.indexer = Indexer(
            self.store,
            self.hub.committed,
            max_queue_bytes=settings.max_queue_mb * MB,
            watch=FolderWatch(settings.journals) if settings.mode == "view" else None,
        )
        self.ingest: Ingest | None = None
        self.producers: Producers | None = None
        self.sources = Sources()
        self.own_log: OwnLog | None = None
        self.mirror: InfluxMirror | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if settings.mode == "serve":
            finish_batches(settings.journals)
            journals = Journals(settings.journals)
            for copy in journals.all():
                self.indexer.grown(copy.path, copy.header, copy.length, copy.changed_at or self.started_at)
            self.ingest = Ingest(settings, journals, self.indexer)
            self.producers = Producers(journals, self.indexer)
            writers = Writers(self.producers, Together(journals, self.indexer), self.indexer)
            self.sources = Sources(
                build(
                    settings.source_tables,
                    interval_sec=settings.collection_interval_sec,
                    environ=settings.variables,
                ),
                journals,
                writers,
            )
            self.own_log = OwnLog(settings, journals, self.producers)
            self.mirror = _mirror(settings, journals)

    def start(self) -> None:
        """Begin to index and to tell of news. Called in the event loop."""
        self.hub.start()
        self.indexer.start()
        self._loop = asyncio.get_running_loop()
        if self.own_log is not None:
            self._started = self._loop.create_task(self.own_log.started())
        self.sources.start()
        if self.fanout is not None:
            self.fanout.start()
        if self.mirror is not None:
            self.mirror.start()

    async def _stop_asking(self) -> None:
        if self.fanout is not None:
            await self.fanout.stop()
        await self.sources.stop()
        if self.own_log is not None:
            await asyncio.gather(self._started, return_exceptions=True)
            await self.own_log.stopped()

    def stop(self) -> None:
        """End cleanly: the commit under way is finished, all acknowledged bytes are on disk anyway.

        The hub is closed before, in the event loop; this is called in another thread.
        """
        if self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._stop_asking(), self._loop).result()
        if self.mirror is not None:
            self.mirror.stop()
        self.indexer.stop()
        self.store.close()


def _redis(settings: Settings) -> RedisLink | None:
    """The way to Redis, where one is configured. Raises `MissingExtra` where its package is not installed."""
    if settings.redis is None:
        return None
    try:
        from fedsight.collector.redis import RedisLink  # a tenth of a second, for those who have one
    except ModuleNotFoundError as error:
        raise MissingExtra("redis", "collector") from error
    return RedisLink(settings.redis, settings.redis_password)


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
