"""`PrometheusEmitter`: a run's newest figures for Prometheus to scrape, or pushed to a Pushgateway."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.error import HTTPError
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import msgspec

from fedsight.emitters.destination import Batch, Line, RunInfo
from fedsight.emitters.exposition import Exposition, Snapshot
from fedsight.emitters.scrape_port import ScrapePort, exposition_in, open_port, require_prometheus_client, stop_port
from fedsight.errors import UsageError
from fedsight.events import ClientUpdate, RunEnd, RunStart, RunStatus

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

logger = logging.getLogger("fedsight")

DEFAULT_PORT = 9464
"""The port that the Prometheus port list keeps for OpenTelemetry's exporters."""

_PUSH_TIMEOUT_SEC = 10.0


class PrometheusEmitter:
    """Shows a run's counters and the figures of its newest round to Prometheus (docs/emitters/prometheus.md).

    port: where to answer scrapes; 0 is any free one (`emitter.port` tells which). 9464 when nothing else is given.
        It stays open, with the final figures, until the process ends or `stop()` is called; a further run of this
        process may take it over.
    addr: the address to listen at; "0.0.0.0" lets other machines in.
    push_url: a Pushgateway, instead of a port: for runs too short to be scraped. Pushed to under (job, run_id) when
        a round has ended and at the run's end. It may hold a user and a password.
    job: the `job` label of what is pushed.
    per_client: also give each client series of its own, `max_clients` of them; `fedsight_clients_not_exported` counts the rest.
    registry: a `prometheus_client` registry that you serve yourself, instead of a port.

    Doubles can't be: what is scraped is a state, and a batch that comes again leads to the same state.
    Raises `UsageError` for values that can't be meant.
    """

    name: ClassVar[str] = "prometheus"

    def __init__(
        self,
        port: int | None = None,
        addr: str = "127.0.0.1",
        push_url: str | None = None,
        job: str = "fedsight",
        per_client: bool = False,
        max_clients: int = 200,
        registry: CollectorRegistry | None = None,
    ) -> None:
        if sum(way is not None for way in (port, push_url, registry)) > 1:
            raise UsageError("port", "Give one of port, push_url and registry: they are three ways to do the same.")
        if port is not None and (type(port) is not int or not 0 <= port <= 65535):
            raise UsageError("port", f"port must be a whole number from 0 (any free one) to 65535, not {port!r}.")
        if not isinstance(addr, str) or not addr:
            raise UsageError("addr", f'addr must be an address to listen at, like "127.0.0.1", not {addr!r}.')
        if not isinstance(job, str) or not job:
            raise UsageError("job", f"job must be a name, not {job!r}.")
        if type(max_clients) is not int or max_clients < 1:
            raise UsageError("max_clients", f"max_clients must be a whole number of at least 1, not {max_clients!r}.")
        self._gateway = None if push_url is None else _Gateway(push_url, job)
        self._registry = registry
        self._wanted_port = DEFAULT_PORT if port is None else port
        self._addr = addr
        self._per_client = per_client
        self._max_clients = max_clients
        self._port: ScrapePort | None = None
        self._snapshot: Snapshot | None = None
        self._warned_of_limit = False

    @property
    def port(self) -> int | None:
        """The port that is served, or will be; None where there is none."""
        if self._gateway is not None or self._registry is not None:
            return None
        return self._wanted_port if self._port is None else self._port.number

    @property
    def ends_with_process(self) -> bool:
        """Whether what was delivered is to be seen only as long as this process lives: at a port."""
        return self.port is not None

    # ── a destination ─────────────────────────────────────────────────────────────────────────

    def identity(self) -> str:
        """The port, the gateway and job, or "registry"."""
        if self._gateway is not None:
            return f"prometheus:{self._gateway.url}#{self._gateway.job}"
        return "prometheus:registry" if self._registry is not None else f"prometheus:{self._addr}:{self._wanted_port}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        """Open the port. Raises `OSError` where it is in use, `MissingExtra` without `prometheus_client`."""
        require_prometheus_client()
        now = self._snapshot
        if now is None or (now.run.run_id, now.run.client_id) != (run.run_id, run.client_id):
            self._snapshot = None if saved is None else _from_json(saved["snapshot"])
        if self._gateway is None and self._registry is None and self._port is None:
            self._port = open_port(self._wanted_port, self._addr)

    def deliver(self, batch: Batch) -> int:
        """Show the state after `batch`; push it where a round ended. Raises `OSError` where the gateway doesn't take it."""
        before = self._snapshot or Snapshot(batch.run, batch.totals)
        if self._per_client and before.hidden is None:
            before = msgspec.structs.replace(before, hidden=set())
        # A site's own journal has one client to show, itself.
        limit = self._max_clients if self._per_client else int(batch.run.client_id is not None)
        self._snapshot = before.after(batch, limit)
        self._warn_of_limit(self._snapshot)
        if (exposition := self._exposition()) is not None:
            exposition.show(self, self._snapshot)
        elif self._gateway is not None and any(_is_worth_a_push(batch.run, line) for line in batch.lines):
            self._gateway.push(self._snapshot)
        return 0

    def save(self) -> dict[str, Any] | None:
        """The figures of the newest round: a restart shows them again. Clients come back with their next update."""
        if self._snapshot is None:
            return None
        run = msgspec.structs.replace(self._snapshot.run, config={}, tags={})
        return {"snapshot": _to_json(msgspec.structs.replace(self._snapshot, run=run, clients={}, hidden=None))}

    def close(self, status: RunStatus | None) -> None:
        """Push for the last time; a port goes on showing the final figures."""
        if self._gateway is not None and self._snapshot is not None:
            self._gateway.push(self._snapshot)
        elif status is not None and (exposition := self._exposition()) is not None:
            exposition.mark_over(self)

    def where(self) -> str:
        """The URL to scrape, or the gateway."""
        if self._gateway is not None:
            return f"Pushgateway {self._gateway.url}, job {self._gateway.job}"
        if self._registry is not None:
            return "your own Prometheus registry"
        host = f"[{self._addr}]" if ":" in self._addr else self._addr
        return f"http://{host}:{self.port}/metrics"

    def sync_arguments(self) -> list[str]:
        """The options of `fedsight sync --to prometheus`. A user and password of the gateway are left out."""
        if self._gateway is not None:
            options: dict[str, Any] = {"push_url": self._gateway.url, "job": json.dumps(self._gateway.job)}
        else:
            options = {"port": self._wanted_port, "addr": self._addr}
        if self._per_client:
            options |= {"per_client": "true", "max_clients": self._max_clients}
        return [word for name, value in options.items() for word in ("--set", f"{name}={value}")]

    def stop(self) -> None:
        """Close the port at once, for all emitters of this process that share it; or take the figures out of the registry."""
        if (exposition := self._exposition()) is not None:
            exposition.drop(self)
        if self._port is not None:
            stop_port(self._port)
            self._port = None

    # ── the rest ──────────────────────────────────────────────────────────────────────────────

    def _exposition(self) -> Exposition | None:
        if self._registry is not None:
            return exposition_in(self._registry)
        return None if self._port is None else self._port.exposition

    def _warn_of_limit(self, snapshot: Snapshot) -> None:
        if snapshot.hidden and not self._warned_of_limit:
            self._warned_of_limit = True
            logger.warning(
                "fedsight: Prometheus gets series of the first %d clients only (max_clients). "
                "fedsight_clients_not_exported counts the rest.",
                self._max_clients,
            )


def _is_worth_a_push(run: RunInfo, line: Line) -> bool:
    # No round ends in a site's own journal.
    return (
        line.report is not None
        or isinstance(line.event, (RunStart, RunEnd))
        or (run.client_id is not None and isinstance(line.event, ClientUpdate))
    )


def _has_port_in_range(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _to_json(snapshot: Snapshot) -> str:
    """Python's own JSON, which has NaN."""
    return json.dumps(msgspec.to_builtins(snapshot))


def _from_json(text: str) -> Snapshot | None:
    try:
        return msgspec.convert(json.loads(text), Snapshot, str_keys=True)
    except msgspec.ValidationError:  # kept by another version: the next round fills it anew
        return None


class _Gateway:
    """A Pushgateway, and the job to push under."""

    def __init__(self, push_url: str, job: str) -> None:
        parts = urlsplit(push_url) if isinstance(push_url, str) else urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port_in_range(parts):
            raise UsageError("push_url", f"push_url must be like http://127.0.0.1:9091, not {push_url!r}.")
        self.job = job
        self.url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = unquote(parts.password or "")

    def push(self, snapshot: Snapshot) -> None:
        """Replace what the gateway has of this run. Raises `OSError` saying why it doesn't take it."""
        from prometheus_client import CollectorRegistry, push_to_gateway
        from prometheus_client.exposition import basic_auth_handler, default_handler

        registry = CollectorRegistry()
        exposition_in(registry).show(self, snapshot)
        group = {"run_id": snapshot.run.run_id}
        if snapshot.run.client_id is not None:
            group["client_id"] = snapshot.run.client_id
        handler = default_handler
        if self._user is not None:
            handler = partial(basic_auth_handler, username=self._user, password=self._password)
        try:
            push_to_gateway(
                self.url, self.job, registry, grouping_key=group, timeout=_PUSH_TIMEOUT_SEC, handler=handler
            )
        except HTTPError as error:
            with error:
                why = error.read(500).decode(errors="replace").strip()
            raise OSError(f"the Pushgateway {self.url} answered {error.code}: {why or error.reason}") from error
