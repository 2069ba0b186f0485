"""HiveWatch with its file emitter (no server): SSEEmitter, called GeoEmitter since 0.3."""

import hivewatch
from hivewatch import emitters


class Recorder:
    def __init__(self):
        emitter = getattr(emitters, "GeoEmitter", None) or emitters.SSEEmitter
        hivewatch.init(run_id="bench", emitters=[emitter(serve_map=False)], verbose=False)

    def log(self, client, round_, metrics):
        hivewatch.log_client_update(client, round=round_, **metrics)

    def close(self):
        hivewatch.finish()
