"""Has a receiver meet what a short job rarely does, event by event: `mishaps.py FOLDER`; prints the journal's path."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

from nvflare.apis.analytix import AnalyticsDataType, LogWriterName, TrackConst
from nvflare.apis.client import Client
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import EventScope, FedEventHeader, FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from fedsight.integrations.nvflare import FedsightReceiver


def workspace_in(folder):
    for name in ("startup", "local"):
        (folder / name).mkdir(parents=True)
    return Workspace(str(folder), site_name="server")


class Federation:
    """Fires events at a receiver, as NVFLARE's server does."""

    def __init__(self, folder):
        self.receiver = FedsightReceiver(drain_sec=0)
        workspace = workspace_in(folder)
        engine = SimpleNamespace(
            get_workspace=lambda: workspace, get_clients=lambda: [Client("a", "token-a"), Client("b", "token-b")]
        )
        private = {ReservedKey.RUN_ABORT_SIGNAL: Signal()}
        self.contexts = FLContextManager(engine, "server", "job-1", {}, private)

    def fire(self, event, client=None, **props):
        fl_ctx = self.contexts.new_context()
        for name, value in props.items():
            fl_ctx.set_prop(name, value, private=True, sticky=False)
        if client is not None:
            peer = FLContext()
            peer.set_prop(ReservedKey.IDENTITY_NAME, client)
            fl_ctx.set_peer_context(peer)
        self.receiver.handle_event(event, fl_ctx)

    def log(self, client, kind, key, value, step=None):
        dxo = DXO(DataKind.ANALYTIC, {TrackConst.TRACK_KEY: key, TrackConst.TRACK_VALUE: value})
        if step is not None:
            dxo.data[TrackConst.GLOBAL_STEP_KEY] = step
        dxo.set_meta_prop(TrackConst.DATA_TYPE_KEY, AnalyticsDataType[kind])
        dxo.set_meta_prop(TrackConst.TRACKER_KEY, LogWriterName.MLFLOW)
        data = dxo.to_shareable()
        data.set_header(FedEventHeader.TIMESTAMP, time.time())
        data.set_peer_props({ReservedKey.IDENTITY_NAME: client})
        props = {FLContextKey.EVENT_DATA: data, FLContextKey.EVENT_SCOPE: EventScope.FEDERATION}
        self.fire("fed.analytix_log_stats", **props)

    def give_task(self, client, number, model=b"0123"):
        data = Shareable({"model": model})
        data.set_header(AppConstants.CURRENT_ROUND, number)
        props = {
            FLContextKey.TASK_DATA: data,
            FLContextKey.TASK_ID: f"{client}{number}",
            FLContextKey.TASK_NAME: "train",
        }
        self.fire(EventType.AFTER_TASK_DATA_FILTER, client, **props)

    def take_result(self, client, number, result):
        props = {
            FLContextKey.TASK_RESULT: result,
            FLContextKey.TASK_ID: f"{client}{number}",
            FLContextKey.TASK_NAME: "train",
        }
        self.fire(EventType.BEFORE_PROCESS_SUBMISSION, client, **props)


def main():
    folder = Path(sys.argv[1])
    nvflare = Federation(folder)
    nvflare.fire(EventType.START_RUN)
    nvflare.fire(AppEventType.ROUND_STARTED, **{AppConstants.CURRENT_ROUND: 0})
    nvflare.give_task("a", 0)
    nvflare.give_task("b", 0)
    nvflare.give_task("late", 0, model=object())  # such as a reference to what is streamed later
    nvflare.log("a", "METRICS", "metrics", {"loss": 0.5, "note": "much text", "accuracy": 0.9}, step=1)
    nvflare.log("a", "METRIC", "loss", 0.25, step=-2)
    nvflare.log("a", "METRIC", "loss", 0.125, step=2)
    nvflare.fire(EventType.CLIENT_DISCONNECTED, **{FLContextKey.DISCONNECTED_CLIENT_NAME: "b"})
    nvflare.take_result("a", 0, make_reply("EXECUTION_EXCEPTION", {"__error__": "the disk is full"}))
    nvflare.fire(AppEventType.ROUND_DONE)
    nvflare.fire(EventType.CLIENT_RECONNECTED, **{FLContextKey.RECONNECTED_CLIENT_NAME: "b"})
    nvflare.give_task("b", 1)  # of a controller that does not say that a round has begun
    nvflare.fire("fed.analytix_log_stats", **{FLContextKey.EVENT_DATA: Shareable()})  # no record at all
    nvflare.fire(EventType.END_RUN)
    print(folder / "runs" / "job-1.jsonl")


if __name__ == "__main__":
    main()
