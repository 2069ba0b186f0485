"""The demo's progress: a live panel in a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections import deque
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedsight.demo.server import RoundReport

NUM_ROUNDS_SHOWN = 10


class Terminal:
    """Shows how the federation is doing; a context manager around the training."""

    def __init__(self, console: Console, url: str, num_rounds: int) -> None:
        self._console = console
        self._url = url
        self._num_rounds = num_rounds
        self._reports: deque[RoundReport] = deque(maxlen=NUM_ROUNDS_SHOWN)
        self._waiting = ""
        self._live = Live(self._panel(), console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Terminal:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def waiting(self, num_connected: int, num_clients: int) -> None:
        """Say how many clients are connected."""
        text = f"{num_connected} of {num_clients} clients are connected"
        if self._live:
            self._waiting = "" if num_connected == num_clients else text
            self._live.update(self._panel(), refresh=True)
        elif num_connected == num_clients:
            self._say(text)

    def round_done(self, report: RoundReport) -> None:
        """Show a round."""
        self._reports.append(report)
        if self._live:
            self._live.update(self._panel(), refresh=True)
        else:
            self._say(f"round {report.round:>3}/{self._num_rounds}  {_figures(report)}  {_remarks(report)}".rstrip())

    def _say(self, line: str) -> None:
        # Wrapping is the reader's business where the output is a pipe.
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _panel(self) -> RenderableType:
        done = self._reports[-1].round if self._reports else 0
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("round", "accuracy", "loss", "updates"):
            table.add_column(heading, justify="right")
        table.add_column("who", overflow="fold")
        for report in self._reports:
            quality = report.quality
            accuracy, loss = (f"{quality.accuracy:.3f}", f"{quality.loss:.3f}") if quality else ("", "")
            updates = f"{len(report.arrived)}/{len(report.expected)}"
            table.add_row(str(report.round), accuracy, loss, updates, _remarks(report))
        title = Text.assemble(("Fedsight demo", "bold"), "  dashboard: ", (self._url, "cyan underline"))
        progress = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=self._num_rounds, completed=done, width=40)
        progress.add_row(bar, self._waiting or f"round {done} of {self._num_rounds}")
        return Group(title, progress, table)


def _figures(report: RoundReport) -> str:
    quality = report.quality
    model = f"accuracy {quality.accuracy:.3f}  loss {quality.loss:.3f}" if quality else "not evaluated"
    return f"{model}  updates {len(report.arrived)}/{len(report.expected)}"


def _remarks(report: RoundReport) -> str:
    groups = {
        "late": report.late,
        "stale": report.stale,
        "dropped out": report.dropped,
        "failed": report.failed,
        "back": report.returned,
    }
    return "  ".join(f"{what}: {', '.join(who)}" for what, who in groups.items() if who)
