"""The three monitors, by where their figures go."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from fedsight.errors import UsageError
from fedsight.journal.names import journal_path
from fedsight.monitor.monitor import Monitor
from fedsight.monitor.settings import checked_port


class FileMonitor(Monitor):
    """Writes to a file. `file` gets heflwr's plain log, and `<file>.jsonl` beside it the journal.

    A `file` that ends in ".jsonl" is the journal itself, and there is no plain log. Both are
    appended to, and can be read meanwhile. The rest is as of `Monitor`.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        interval: float = 5,
        *,
        pid: int | None = None,
        probes: Sequence[str] = (),
        node: str | None = None,
    ) -> None:
        try:
            path = Path(os.fsdecode(file)).absolute()
        except TypeError:
            raise UsageError("file", f"file must be a path, not {file!r}.") from None
        is_journal = path.suffix == ".jsonl"
        journal = path if is_journal else path.with_name(path.name + ".jsonl")
        super().__init__(interval, pid=pid, probes=probes, node=node, journal=journal)
        self.file = file
        if not is_journal:
            self._settings.plain_log = str(path)


class PrometheusMonitor(Monitor):
    """Serves the latest reading at http://addr:port/metrics, from `start()` to `stop()`.

    port: 0 takes any free one; `monitor.port` tells it. addr: "0.0.0.0" for scrapes from elsewhere
    (whoever can reach it can read it). The rest is as of `Monitor`.
    """

    def __init__(
        self,
        port: int = 8003,
        interval: float = 5,
        *,
        addr: str = "127.0.0.1",
        pid: int | None = None,
        probes: Sequence[str] = (),
        node: str | None = None,
        run_id: str | None = None,
        client_id: str | None = None,
    ) -> None:
        super().__init__(interval, pid=pid, probes=probes, node=node, run_id=run_id, client_id=client_id)
        self.addr = addr
        self.port = self._settings.port = checked_port(port)
        self._settings.addr = addr


class RemoteMonitor(Monitor):
    """Ships its readings to a Fedsight collector, through a journal: while it is away nothing is lost.

    host: the collector's, as "127.0.0.1:5000" or a URL. identifier: what the readings are filed
    under (default: a random one). simple: ship the derived figures alone; False: also everything
    that the probes told. token: default `FEDSIGHT_TOKEN`. runs_dir: where the journal lies, as
    `<identifier>.monitor.jsonl`. `pending()` says what is still to be delivered; `stop()` doesn't
    wait for it. The rest is as of `Monitor`.
    """

    def __init__(
        self,
        host: str,
        interval: float = 5,
        identifier: str | None = None,
        simple: bool = True,
        *,
        token: str | None = None,
        runs_dir: str | os.PathLike[str] = "runs",
        pid: int | None = None,
        probes: Sequence[str] = (),
        run_id: str | None = None,
        client_id: str | None = None,
    ) -> None:
        if not isinstance(host, str) or not host.strip():
            raise UsageError("host", f'host must be a collector\'s address, like "127.0.0.1:5000", not {host!r}.')
        self.identifier = str(identifier) if identifier is not None else f"remote-monitor-{secrets.token_hex(16)}"
        super().__init__(
            interval,
            pid=pid,
            probes=probes,
            node=self.identifier,
            run_id=run_id,
            client_id=client_id,
            concise=simple,
            journal=journal_path(Path(runs_dir), self.identifier, part="monitor"),
        )
        self.host = host
        self.simple = simple
        self._settings.collector = host if "://" in host else f"http://{host}"
        self._settings.token = token if token is not None else os.environ.get("FEDSIGHT_TOKEN")
