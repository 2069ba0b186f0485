"""The demo's server: plain federated averaging over real connections, recorded by Fedsight."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

import fedsight
from fedsight.demo import model, wire
from fedsight.demo.cast import Part, assign_parts
from fedsight.demo.cities import CITIES, SERVER_CITY
from fedsight.demo.lobby import Arrived, Joined, Lobby, Lost, News
from fedsight.demo.partition import dirichlet_split
from fedsight.errors import FedsightError

HELD_OUT_SHARE = 0.2
MIN_SAMPLES = 25
NUM_MODELS_KEPT = 50
CHECKPOINT_EVERY = 5


class Settings(msgspec.Struct, frozen=True):
    """What to train, and at which pace (`speed` divides all waiting)."""

    num_clients: int = 20
    num_rounds: int = 30
    seed: int = 42
    speed: float = 1.0
    alpha: float = 0.4
    learning_rate: float = 0.15
    batch_size: int = 32

    @property
    def straggler_after_sec(self) -> float:
        """A client that takes longer than this is called a straggler."""
        return max(0.2, 1.5 / self.speed)

    @property
    def deadline_sec(self) -> float:
        """A round ends after this, whoever is missing."""
        return max(1.5, 4.0 / self.speed)

    @property
    def stall_timeout_sec(self) -> float:
        """A connection that falls silent inside a message for this long has failed."""
        return max(0.5, 1.0 / self.speed)


class RoundReport(msgspec.Struct, kw_only=True):
    """What happened in a round, for the terminal. The lists hold client ids."""

    round: int
    selected: list[str] = []
    arrived: list[str] = []
    late: list[str] = []
    stale: list[str] = []
    dropped: list[str] = []
    failed: list[str] = []
    returned: list[str] = []
    quality: model.Quality | None = None

    @property
    def expected(self) -> set[str]:
        """Who was asked in this round, and who was asked in an earlier one and answered only now."""
        return {*self.selected, *self.arrived}


class Display(Protocol):
    """Where the progress is shown."""

    def waiting(self, num_connected: int, num_clients: int) -> None:
        """Clients are coming in."""

    def round_done(self, report: RoundReport) -> None:
        """A round is over."""


class Federation:
    """Holds the global model and plays the rounds."""

    def __init__(self, settings: Settings, *, run: fedsight.Run, runs_dir: Path, display: Display) -> None:
        self.settings = settings
        self._run = run
        self._runs_dir = runs_dir
        self._display = display
        self._collector_url: str | None = None
        self._tokens: dict[str, str] = {}
        rng = np.random.default_rng(settings.seed)
        self._weights = model.initial_weights(rng)
        self._bases: dict[int, model.Weights] = {}
        self._busy: set[str] = set()
        self._accuracies: list[float] = []
        self._load_data(rng)
        self.lobby = Lobby(self._welcome, timeout_sec=settings.stall_timeout_sec)

    def ship_to(self, collector_url: str, tokens: Mapping[str, str]) -> None:
        """Have the clients ship their journals to a collector, each with its own token (by client id)."""
        self._collector_url, self._tokens = collector_url, dict(tokens)

    def _load_data(self, rng: np.random.Generator) -> None:
        from sklearn.datasets import load_digits  # takes two seconds, and clients do without

        digits = load_digits()
        x, y = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
        order = rng.permutation(len(y))
        num_test = int(len(y) * HELD_OUT_SHARE)
        self._test = (x[order[:num_test]], y[order[:num_test]])
        x, y = x[order[num_test:]], y[order[num_test:]]
        split = dirichlet_split(
            y, self.settings.num_clients, alpha=self.settings.alpha, min_samples=MIN_SAMPLES, rng=rng
        )
        parts = assign_parts(
            CITIES[: self.settings.num_clients],
            [len(indices) for indices in split],
            num_rounds=self.settings.num_rounds,
            speed=self.settings.speed,
        )
        self.parts: dict[str, Part] = {part.client_id: part for part in parts}
        self._data: dict[str, list[wire.Array]] = {}
        for part, indices in zip(parts, split, strict=True):
            held_out, train = np.split(indices, [int(len(indices) * HELD_OUT_SHARE)])
            self._data[part.client_id] = [x[train], y[train], x[held_out], y[held_out]]

    def _welcome(self, hello: wire.Hello) -> tuple[wire.Welcome, Sequence[wire.Array]]:
        welcome = wire.Welcome(
            run_id=self._run.run_id,
            runs_dir=str(self._runs_dir),
            part=self.parts[hello.client_id],
            learning_rate=self.settings.learning_rate,
            batch_size=self.settings.batch_size,
            collector_url=self._collector_url,
            token=self._tokens.get(hello.client_id),
        )
        return welcome, [] if hello.has_data else self._data[hello.client_id]

    def wait_for_clients(self, timeout_sec: float) -> None:
        """Wait until all clients are connected; raises `FedsightError` naming who is missing."""
        give_up = time.monotonic() + timeout_sec
        while missing := self.parts.keys() - self.lobby.connected():
            self._display.waiting(len(self.parts) - len(missing), len(self.parts))
            if time.monotonic() > give_up:
                raise FedsightError(
                    f"clients that did not connect within {timeout_sec:g} s: {', '.join(sorted(missing))}"
                )
            try:
                self.lobby.news.get(timeout=0.5)
            except queue.Empty:
                continue
        self._display.waiting(len(self.parts), len(self.parts))

    def train(self) -> None:
        """Play all rounds."""
        self._run.set_server_metadata(
            lat=SERVER_CITY.lat,
            lng=SERVER_CITY.lng,
            city=SERVER_CITY.name,
            country=SERVER_CITY.country,
            host=f"{self.lobby.host}:{self.lobby.port}",
            protocol="tcp",
        )
        for round_ in range(1, self.settings.num_rounds + 1):
            self._play_round(round_)

    def _play_round(self, round_: int) -> None:
        early = self._news_so_far()
        started = time.monotonic()
        report = RoundReport(round=round_, selected=sorted(self.lobby.connected() - self._busy))
        self._run.round_start(round_, selected=report.selected)
        self._bases[round_] = self._weights
        self._bases.pop(round_ - NUM_MODELS_KEPT, None)
        updates: list[Arrived] = []
        for news in early:
            self._note(news, report, updates)
        awaited = {c for c in report.selected if self._send_out(c, round_) and not self.parts[c].asynchronous}
        while awaited and (left := started + self.settings.deadline_sec - time.monotonic()) > 0:
            try:
                news = self.lobby.news.get(timeout=left)
            except queue.Empty:
                break
            self._note(news, report, updates)
            if isinstance(news, Arrived) and news.update.base_round == round_:
                is_straggler = time.monotonic() - started > self.settings.straggler_after_sec
                if is_straggler and news.client_id in awaited:
                    report.late.append(news.client_id)
            if not isinstance(news, Joined):
                awaited.discard(news.client_id)
        report.late.extend(sorted(awaited))
        self._close_round(report, updates)

    def _news_so_far(self) -> list[News]:
        """What came in since the last round ended; it counts for the next one."""
        news: list[News] = []
        while not self.lobby.news.empty():
            news.append(self.lobby.news.get())
        self._busy -= {n.client_id for n in news if not isinstance(n, Joined)}
        return news

    def _send_out(self, client_id: str, round_: int) -> bool:
        self._busy.add(client_id)
        return self.lobby.send(client_id, wire.Train(round_), self._weights)

    def _note(self, news: News, report: RoundReport, updates: list[Arrived]) -> None:
        """Record one piece of news in the round that is open."""
        client_id = news.client_id
        if isinstance(news, Joined):
            if news.returned:
                report.returned.append(client_id)
                self._run.log_text(f"{client_id} is back", round=report.round)
            return
        self._busy.discard(client_id)
        if isinstance(news, Lost):
            if news.left:
                report.dropped.append(client_id)
                self._run.log_dropout(report.round, client_id, reason=news.reason)
            else:
                report.failed.append(client_id)
                self._run.log_comm_failure(report.round, client_id, reason=news.reason)
            return
        updates.append(news)
        report.arrived.append(client_id)
        if news.update.base_round < report.round:
            report.stale.append(client_id)
        self._record_update(news, report.round)
        self.lobby.send(client_id, wire.Received(report.round))

    def _record_update(self, news: Arrived, round_: int) -> None:
        city = self.parts[news.client_id].city
        fields = msgspec.structs.asdict(news.update)
        # What the server can measure itself, it does not take the client's word for.
        base = self._bases.get(news.update.base_round)
        fields["gradient_norm"] = None if base is None else model.distance(news.weights, base)
        self._run.log_client_update(
            news.client_id,
            round=round_,
            bytes_sent=news.bytes_up,
            bytes_received=news.bytes_down,
            lat=city.lat,
            lng=city.lng,
            city=city.name,
            country=city.country,
            **fields,
        )

    def _close_round(self, report: RoundReport, updates: list[Arrived]) -> None:
        started = time.monotonic()
        if updates:
            self._weights = model.fedavg([u.weights for u in updates], [u.update.num_samples for u in updates])
        aggregation_time_sec = time.monotonic() - started
        quality = report.quality = model.evaluate(self._weights, *self._test)
        if report.round % CHECKPOINT_EVERY == 0:
            self._save_checkpoint(report.round, quality)
        self._comment(report.round, quality)
        self._run.log_round(
            report.round,
            global_accuracy=quality.accuracy,
            global_loss=quality.loss,
            num_selected=len(report.expected),
            num_stragglers=len(report.late),
            num_failures=len(report.failed),
            aggregation_time_sec=aggregation_time_sec,
            macro_f1=quality.macro_f1,
        )
        self._display.round_done(report)

    def _save_checkpoint(self, round_: int, quality: model.Quality) -> None:
        folder = self._runs_dir / "checkpoints" / self._run.run_id
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"round-{round_:03d}.npz"
        np.savez(path, *self._weights)
        self._run.log_checkpoint(round_, str(path), global_accuracy=quality.accuracy)

    def _comment(self, round_: int, quality: model.Quality) -> None:
        """Say so when the model got clearly worse."""
        if self._accuracies and (fall := self._accuracies[-1] - quality.accuracy) > 0.03:
            self._run.log_text(f"Global accuracy fell by {fall:.3f} in round {round_}", round=round_)
        self._accuracies.append(quality.accuracy)
