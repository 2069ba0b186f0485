"""One client of the demo's federation, a process of its own: `python -m fedsight.demo.client`."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
from statistics import median

import msgspec
import numpy as np
import psutil

import fedsight
from fedsight.demo import model, wire
from fedsight.demo.cast import Part
from fedsight.emitters import CollectorEmitter
from fedsight.events import RunStatus

TIMEOUT_SEC = 30.0
DRAIN_SEC = 4.0
NUM_PINGS = 3
NUM_CONNECT_TRIES = 10
MAX_BACKOFF_SEC = 1.0


class Stopped(Exception):
    """The server says that training is over."""


class Client:
    """Trains on its own data whenever the server asks, and plays its part (see `cast`)."""

    def __init__(self, host: str, port: int, client_id: str) -> None:
        self.address = (host, port)
        self.client_id = client_id
        self._data: list[wire.Array] | None = None
        self._run: fedsight.Run | None = None
        self._rng = np.random.default_rng()
        self._step = 0
        self._trained_at: list[float] = []
        self._was_away = False
        self._unrecorded: wire.Update | None = None

    def work(self) -> None:
        """Serve until the server stops or is gone for good."""
        status: RunStatus = "finished"
        try:
            while True:
                self._work_on_one_connection()
        except Stopped:
            pass
        except KeyboardInterrupt:
            status = "killed"
        except OSError as error:
            status = "killed"
            print(f"{self.client_id}: the server is gone: {error}", file=sys.stderr)
        finally:
            if self._run is not None:
                self._run.finish(status, timeout_sec=DRAIN_SEC)

    def _work_on_one_connection(self) -> None:
        """Returns when the connection is to be made anew."""
        self.link = self._connect()
        self._mark = (0, 0)
        try:
            self.link.send(wire.Hello(self.client_id, has_data=self._data is not None))
            while self._handle(*self.link.receive()):
                pass
        finally:
            self.link.close()

    def _connect(self) -> wire.Connection:
        """Connect, with growing pauses between tries; raises the last try's `OSError`."""
        for attempt in range(NUM_CONNECT_TRIES):
            try:
                return wire.Connection(socket.create_connection(self.address), timeout_sec=TIMEOUT_SEC)
            except OSError:
                if attempt == NUM_CONNECT_TRIES - 1:
                    raise
                time.sleep(min(0.05 * 2**attempt, MAX_BACKOFF_SEC))
        raise AssertionError("unreachable")

    def _handle(self, message: wire.Message, arrays: list[wire.Array]) -> bool:
        """Answer one message; False when the connection is over."""
        if isinstance(message, wire.Stop):
            raise Stopped
        if isinstance(message, wire.Welcome):
            self._take_part(message, arrays)
        elif isinstance(message, wire.Train):
            return self._train(message.round, arrays)
        elif isinstance(message, wire.Received):
            self._record(message.round)
            self._mark = (self.link.bytes_sent, self.link.bytes_received)
        return True

    def _take_part(self, welcome: wire.Welcome, arrays: list[wire.Array]) -> None:
        self.part: Part = welcome.part
        self._welcome = welcome
        self._mark = (self.link.bytes_sent, self.link.bytes_received)
        if arrays:
            self._data = arrays
        if self._run is None:
            emitters = [CollectorEmitter(welcome.collector_url, token=welcome.token)] if welcome.collector_url else []
            self._run = fedsight.join(
                welcome.run_id, self.client_id, runs_dir=welcome.runs_dir, emitters=emitters, verbose=False
            )

    def _train(self, round_: int, base: list[wire.Array]) -> bool:
        self._trained_at.append(time.monotonic())
        if self.part.away_from is not None and round_ >= self.part.away_from and not self._was_away:
            self._be_away(self.part.away_from, self.part.away_until or round_)
            return False
        latency_ms = self._ping()
        trained, update = self._make_update(round_, base, latency_ms)
        if round_ in self.part.link_fails_in:
            self._break_link(wire.frame(update, trained), stall=round_ % 2 == 0)
            return False
        self.link.send(update, trained)
        self._unrecorded = update
        self._sent = (self.link.bytes_sent, self.link.bytes_received)
        return True

    def _make_update(self, round_: int, base: model.Weights, latency_ms: float) -> tuple[model.Weights, wire.Update]:
        assert self._data is not None
        assert self._run is not None
        train_x, train_y, held_out_x, held_out_y = self._data
        process = psutil.Process()
        process.cpu_percent()  # its next call answers for the time since this one
        started = time.monotonic()
        weights = [layer.copy() for layer in base]
        for _ in range(self.part.epochs):
            time.sleep(self.part.pace_sec)
            loss = model.train_epoch(
                weights,
                train_x,
                train_y,
                learning_rate=self._welcome.learning_rate,
                batch_size=self._welcome.batch_size,
                rng=self._rng,
            )
            self._step += 1
            self._run.log_metric("train_loss", loss, step=self._step)
        train_time_sec = time.monotonic() - started
        quality = model.evaluate(weights, held_out_x, held_out_y)
        if self.part.poison_from is not None and round_ >= self.part.poison_from:
            weights = model.extrapolate(base, weights, self.part.poison_factor)
        return weights, wire.Update(
            base_round=round_,
            num_samples=len(train_y),
            local_accuracy=quality.accuracy,
            local_loss=quality.loss,
            gradient_norm=model.distance(weights, base),
            train_time_sec=train_time_sec,
            cpu_pct=process.cpu_percent(),
            ram_mb=process.memory_info().rss / 2**20,
            network_latency_ms=latency_ms,
        )

    def _record(self, round_: int) -> None:
        """Write into our own journal what we did for `round_`."""
        update, self._unrecorded = self._unrecorded, None
        if update is None or self._run is None:
            return
        self._run.log_client_update(
            round=round_,
            bytes_sent=self._sent[0] - self._mark[0],
            bytes_received=self._sent[1] - self._mark[1],
            lat=self.part.city.lat,
            lng=self.part.city.lng,
            city=self.part.city.name,
            country=self.part.city.country,
            **msgspec.structs.asdict(update),
        )

    def _ping(self) -> float:
        """The server's median answering time, in milliseconds."""
        answers_ms = []
        for _ in range(NUM_PINGS):
            started = time.perf_counter()
            self.link.send(wire.Ping())
            if isinstance(self.link.receive()[0], wire.Stop):
                raise Stopped
            answers_ms.append((time.perf_counter() - started) * 1000)
        return median(answers_ms)

    def _break_link(self, data: bytes, *, stall: bool) -> None:
        """Send half a frame, then fall silent until the server gives up, or reset the connection."""
        self.link.send_raw(data[: len(data) // 2])
        if not stall:
            self.link.reset()
            return
        try:
            while True:
                self.link.receive()
        except OSError:
            pass  # the server has given up, as it should

    def _be_away(self, from_round: int, until_round: int) -> None:
        """Leave, and stay away for as long as those rounds are likely to take."""
        self._was_away = True
        self.link.send(wire.Leave("maintenance window"))
        self.link.close()
        gaps = [b - a for a, b in zip(self._trained_at, self._trained_at[1:], strict=False)]
        time.sleep((until_round - from_round) * (median(gaps) if gaps else 1.0))


def main() -> None:
    """The process's entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--client-id", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Client(options.host, options.port, options.client_id).work()


if __name__ == "__main__":
    main()
