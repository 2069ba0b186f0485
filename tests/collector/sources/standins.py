"""Stand-ins for the systems that the collector asks: small servers that speak their contract, and can be killed and come back."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


def iso(ts: float) -> str:
    return datetime.fromtimestamp(ts, timezone.utc).isoformat()


class Standin:
    """An HTTP server on loopback. `fault`, while set, answers in place of the system itself."""

    def __init__(self) -> None:
        self.fault: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.asked: list[str] = []
        self.port = 0
        self.lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, params: dict[str, str]) -> Any:
        """What the system says: something to write as JSON; None for 404."""
        raise NotImplementedError

    def start(self) -> None:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                standin.asked.append(self.path)
                if standin.fault is not None:
                    standin.fault(self)
                    return
                parts = urlsplit(self.path)
                with standin.lock:
                    found = standin.answer(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})
                send(self, 404 if found is None else 200, json.dumps(found).encode())

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                """A collector that hangs up in the midst of an answer is what some tests are about."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @contextmanager
    def faulty(self, fault: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[None]:
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "application/json") -> None:
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    # A connection that stays open would be served after a kill, too.
    handler.send_header("connection", "close")
    handler.end_headers()
    handler.wfile.write(body)


class FLServerStandin(Standin):
    """FLOPY-NET's FL server: a buffer of 1000 events, rounds kept by number over restarts, counters of one process."""

    def __init__(self, *, now: float = 1_750_000_000.0) -> None:
        self.clock = now
        self.rows: dict[int, dict[str, Any]] = {}
        self.boot()
        super().__init__()

    def boot(self) -> None:
        """The process starts; its table of rounds is still there."""
        self.events: deque[dict[str, Any]] = deque(maxlen=1000)
        self.metrics: dict[str, Any] = {
            "start_time": self.clock,
            "current_round": 0,
            "connected_clients": 3,
            "last_round_metrics": {},
            "training_complete": False,
            "training_end_time": None,
            "total_training_duration": 0.0,
            "rounds_history": [],
            "data_state": "initializing",
            "model_size_mb": 0.0,
            "max_rounds": 0,
        }
        self.status: dict[str, Any] = {"training_stopped_by_policy": False, "server_status": "running"}
        self.log("SERVER_START", {})

    def log(self, kind: str, details: dict[str, Any]) -> None:
        self.events.append(
            {
                "event_id": str(uuid.uuid4()),
                "timestamp": iso(self.clock),
                "source_component": "FL_SERVER",
                "event_type": kind,
                "details": details,
            }
        )

    def begin_round(self, number: int) -> None:
        with self.lock:
            self.clock += 1
            self.metrics["data_state"] = "training"
            self.log("ROUND_STARTED", {"round": number, "selected_clients": 3})

    def end_round(self, number: int, accuracy: float = 0.5, **row: Any) -> None:
        with self.lock:
            self.clock += 9
            self.metrics["current_round"] = number
            self.log("AGGREGATION_COMPLETED", {"round": number})
            self.rows[number] = {
                "round": number,
                "timestamp": iso(self.clock),
                "status": "complete",
                "accuracy": accuracy,
                "loss": 1 - accuracy,
                "training_duration": 9.0,
                "model_size_mb": 1.5,
                "clients": 3,
                "raw_metrics": {
                    "aggregated_loss": 1 - accuracy,
                    "evaluation_results_count": 3,
                    "phase_durations": {"total": 9.0, "aggregation": 0.25, "evaluation": 1.0},
                    "client_timing_stats": {
                        "training": {
                            "total_time": 6.0,
                            "average_time": 2.0,
                            "min_time": 1.0,
                            "max_time": 3.0,
                            "count": 3,
                        }
                    },
                },
                **row,
            }
            self.metrics["last_round_metrics"] = {"round": number, "accuracy": accuracy}
            self.metrics["last_round_accuracy"] = accuracy
            self.log("EVALUATION_COMPLETED", {"round": number})
            self.log("ROUND_COMPLETED", {"round": number, "accuracy": accuracy})

    def train(self, rounds: range, accuracy: float = 0.5) -> None:
        for number in rounds:
            self.begin_round(number)
            self.end_round(number, accuracy)

    def complete(self) -> None:
        with self.lock:
            self.metrics |= {
                "training_complete": True,
                "data_state": "training_complete",
                "training_end_time": self.clock,
                "total_training_duration": 60.0,
            }

    def restart_training(self) -> None:
        """What POST /restart does: the same process trains from round 1 again."""
        with self.lock:
            self.clock += 1
            self.log("TRAINING_MANUALLY_RESTARTED", {"reason": "Manual restart via API"})
            self.metrics |= {"training_complete": False, "data_state": "training"}

    def restart_process(self) -> None:
        self.kill()
        self.clock += 100
        self.boot()
        self.start()

    def answer(self, path: str, params: dict[str, str]) -> Any:
        if path == "/metrics":
            return self.metrics
        if path == "/status":
            return {**self.status, "current_round": self.metrics["current_round"]}
        if path == "/events":
            return buffered(list(self.events), params, "event_id")
        if path == "/rounds":
            first, limit = int(params.get("start_round", 1)), int(params.get("limit", 1000))
            rows = [row for number, row in sorted(self.rows.items()) if number >= first]
            return {"rounds": rows[:limit], "total_rounds": len(rows), "latest_round": max(self.rows, default=0)}
        return None


def buffered(events: list[dict[str, Any]], params: dict[str, str], key: str) -> Any:
    """What `/events` answers: what follows the id, or all where the id is not known; always the newest id of the buffer."""
    if not events:
        return {"events": [], "last_event_id": None}
    ids = [event[key] for event in events]
    since = params.get("since_event_id")
    first = ids.index(since) + 1 if since in ids else 0
    return {"events": events[first : first + int(params.get("limit", 1000))], "last_event_id": ids[-1]}


class PolicyStandin(Standin):
    """FLOPY-NET's policy engine: 500 events, 1000 decisions newest first, hours as a bare list."""

    def __init__(self, *, bare_list: bool = True) -> None:
        self.bare_list = bare_list
        self.boot()
        super().__init__()

    def boot(self) -> None:
        self.began = time.time()
        self.events: list[dict[str, Any]] = []
        self.decisions: list[dict[str, Any]] = []
        self.checks = {"total": 0, "allowed": 0}

    def log(self, kind: str, details: dict[str, Any], ts: float | None = None) -> None:
        with self.lock:
            event = {
                "id": str(uuid.uuid4()),
                "type": kind,
                "timestamp": time.time() if ts is None else ts,
                "source": "POLICY_ENGINE",
                "details": details,
            }
            self.events.append(event)
            if len(self.events) > 500:
                del self.events[:100]

    def decide(self, allowed: bool, ts: float, **fields: Any) -> None:
        with self.lock:
            self.checks["total"] += 1
            self.checks["allowed"] += allowed
            number = self.checks["total"]
            self.decisions.append(
                {
                    "id": f"decision_{number}",
                    "policy_id": "p1",
                    "policy_name": "fl_client_training",
                    "component": "fl-client",
                    "timestamp": ts,
                    "context": {"client_id": f"client-{number % 3}", "trust_score": 0.9},
                    "decision": "allow" if allowed else "deny",
                    "result": allowed,
                    "reason": "within working hours" if allowed else "outside working hours",
                    "execution_time": 0.4,
                    **fields,
                }
            )
            del self.decisions[:-1000]

    def answer(self, path: str, params: dict[str, str]) -> Any:
        if path == "/metrics":
            return {
                "version": "1.0.0",
                "uptime_seconds": time.time() - self.began,
                "policy_count": 3,
                "policy_checks_total": self.checks["total"],
                "policy_checks_allowed": self.checks["allowed"],
                "policy_checks_denied": self.checks["total"] - self.checks["allowed"],
                "policy_components": ["fl-client"],
            }
        if path == "/events":
            return buffered(self.events, params, "id")
        if path == "/api/v1/policy_decisions":
            first, last = float(params.get("start_time", "-inf")), float(params.get("end_time", "inf"))
            rows = [row for row in self.decisions if first <= row["timestamp"] <= last]
            return sorted(rows, key=lambda row: -row["timestamp"])[: int(params.get("limit", 100))]
        if path == "/api/v1/policy_metrics":
            rows = self._hours(float(params["start_time"]), float(params["end_time"]))
            return rows if self.bare_list else {"metrics": rows}
        return None

    def _hours(self, first: float, last: float) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while first <= last:
            rows.append(
                {"timestamp": first, "metric_type": "policy_count", "metric_name": "active_policies", "metric_value": 3}
            )
            inside = [row for row in self.decisions if first <= row["timestamp"] < first + 3600]
            if inside:
                allowed = sum(row["result"] for row in inside)
                rows.append(
                    {
                        "timestamp": first,
                        "metric_type": "decision_count",
                        "metric_name": "total_decisions",
                        "metric_value": len(inside),
                        "allowed_count": allowed,
                        "denied_count": len(inside) - allowed,
                        "unit": "count",
                    }
                )
            first += 3600
        return rows
