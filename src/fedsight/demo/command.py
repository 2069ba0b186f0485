"""`fedsight demo`: a collector, a federation, and the dashboard to watch it in."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer
from rich.console import Console

import fedsight
from fedsight.collector.access import Tokens
from fedsight.demo.cast import MIN_CLIENTS
from fedsight.demo.cities import CITIES
from fedsight.demo.processes import Collector, Processes, free_port
from fedsight.demo.server import Federation, Settings
from fedsight.demo.terminal import Terminal
from fedsight.emitters import CollectorEmitter

CLIENTS_START_SEC = 120.0
CLIENTS_END_SEC = 10.0
INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""


def demo(
    clients: Annotated[
        int, typer.Option(min=MIN_CLIENTS, max=len(CITIES), help="How many client processes to start.")
    ] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds to train.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Decides who holds which data.")] = 42,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The dashboard's; another free one if it is taken.")
    ] = 8083,
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="2 makes everybody wait half as long.")] = 1.0,
    runs_dir: Annotated[Path, typer.Option(help="Where the journals go.")] = Path("runs"),
) -> None:
    """Train a real federation on this machine, and watch it in the dashboard.

    Twenty client processes train a digit classifier by federated averaging. One is slow, one drops
    out and comes back, one has a failing link, one lags behind, and one sends poisoned updates.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings(num_clients=clients, num_rounds=rounds, seed=seed, speed=speed)
    console = Console()
    try:
        _play(settings, port, runs_dir, console)
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(INTERRUPTED) from None


def _play(settings: Settings, port: int, runs_dir: Path, console: Console) -> None:
    with (
        # The demo's tokens are worth nothing once its collector is gone.
        tempfile.TemporaryDirectory(prefix="fedsight-demo-") as secrets_dir,
        Processes(runs_dir / "demo-logs") as processes,
    ):
        tokens = Tokens(Path(secrets_dir) / "tokens.json")
        server_token, _ = tokens.create("producer", name="demo server")
        collector = processes.start_collector(free_port(port), data=runs_dir / "collector", tokens=tokens.path)
        console.print(f"Dashboard: {collector.url}  (Ctrl-C stops everything)", highlight=False)
        collector.wait_until_ready()
        run = fedsight.init(
            project="demo",
            algorithm="FedAvg",
            framework="NumPy",
            config=msgspec.structs.asdict(settings),
            emitters=[CollectorEmitter(collector.url, server_token)],
            runs_dir=runs_dir,
            verbose=False,
        )
        page = f"{collector.url}/runs/{quote(run.run_id, safe='')}"
        with run:
            console.print(f"This run:  {page}", highlight=False)
            _train(settings, run, runs_dir, collector, tokens, processes, Terminal(console, page, settings.num_rounds))
        console.print(f"The federation is done. Its journals are in {runs_dir.resolve()}", soft_wrap=True)
        if console.is_terminal:
            console.print(f"The dashboard stays at {page} until you press Ctrl-C.", highlight=False, soft_wrap=True)
            _stay(collector)
        else:
            console.print(f"Look again with: fedsight view {runs_dir}", highlight=False, soft_wrap=True)


def _train(
    settings: Settings,
    run: fedsight.Run,
    runs_dir: Path,
    collector: Collector,
    tokens: Tokens,
    processes: Processes,
    terminal: Terminal,
) -> None:
    federation = Federation(settings, run=run, runs_dir=runs_dir, display=terminal)
    federation.ship_to(
        collector.url,
        {client: tokens.create("producer", run=run.run_id, client=client)[0] for client in federation.parts},
    )
    end_sec = 0.0
    try:
        with terminal:
            processes.start_clients(federation.lobby.host, federation.lobby.port, federation.parts)
            federation.wait_for_clients(CLIENTS_START_SEC)
            federation.train()
        end_sec = CLIENTS_END_SEC
    finally:
        federation.lobby.close()
        processes.wait(but=[collector.process], timeout_sec=end_sec)
        processes.stop(but=[collector.process])


def _stay(collector: Collector) -> None:
    """Keep the dashboard up until Ctrl-C, which is how one is meant to leave."""
    try:
        collector.process.wait()
    except KeyboardInterrupt:
        return
