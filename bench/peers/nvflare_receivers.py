"""Receivers as NVFLARE's contract asks for them, which write each record in `save`; the slow one takes 20 ms for it."""

import json
import os
import time
from pathlib import Path

from nvflare.apis.analytix import AnalyticsData, TrackConst
from nvflare.apis.dxo import from_shareable
from nvflare.app_common.widgets.streaming import AnalyticsReceiver


class Counting(AnalyticsReceiver):
    def __init__(self, save_sec: float = 0.0, events=None):
        super().__init__(events=events or ["fed.analytix_log_stats"])
        self.save_sec = save_sec

    def initialize(self, fl_ctx):
        self._file = (Path(os.environ["BENCH_FOLDER"]) / "counted.jsonl").open("a", buffering=1)

    def save(self, fl_ctx, shareable, record_origin):
        dxo = from_shareable(shareable)
        data = AnalyticsData.from_dxo(dxo, receiver=dxo.get_meta_prop(TrackConst.TRACKER_KEY))
        time.sleep(self.save_sec)
        self._file.write(json.dumps([record_origin, data.tag, data.step]) + "\n")

    def finalize(self, fl_ctx):
        self._file.close()


class Hanging:
    """A destination of Fedsight's that never comes back from its first batch."""

    identity = "hanging"

    def on_events(self, batch):
        time.sleep(3600)


class Slow:
    """A destination of Fedsight's that takes 20 ms for each event."""

    identity = "slow"

    def on_events(self, batch):
        for _ in batch.lines:
            time.sleep(0.02)
