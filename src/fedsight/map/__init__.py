"""HiveWatch's view of a run: its event shapes, its map.json, its map server's name.

`form` says our events in HiveWatch's shapes; `metadata` builds and writes `<run>.map.json`; `server`
starts the live page, a process of its own.
"""

from fedsight.map.metadata import (
    build_map_metadata_from_events,
    build_rounds_from_events,
    merge_client_state,
    write_map,
)
from fedsight.map.server import MapServer

__all__ = [
    "MapServer",
    "build_map_metadata_from_events",
    "build_rounds_from_events",
    "merge_client_state",
    "write_map",
]
