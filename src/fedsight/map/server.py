"""`MapServer`, as HiveWatch's users know it: a thin shell over the live page."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fedsight.errors import FedsightError
from fedsight.map.form import JsonObject, in_hivewatch_form
from fedsight.map.metadata import journal_events
from fedsight.map.page import LivePage


class MapServer:
    """Serves the dashboard over a folder of runs, and HiveWatch's routes, from a process of its own.

    As HiveWatch's, but: it listens on this machine alone unless `host` says otherwise (other addresses need
    FEDSIGHT_TOKENS, a collector's tokens file); it follows the folder always (`watch` and `poll_interval` have no
    effect); the page is ours (`map_path`, an HTML file there, has none either); `publish` is gone, for whatever is in
    a journal is shown. `run_id` is the run that `url` opens.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 7070,
        runs_dir: str | Path = "runs",
        run_id: str | None = None,
        map_path: str | Path | None = None,
        watch: bool = False,
        poll_interval: float = 1.0,
    ) -> None:
        self.host = host
        self.port = port
        self.runs_dir = Path(runs_dir)
        self.run_id = run_id
        self._page: LivePage | None = None

    @property
    def url(self) -> str | None:
        """Where the page is, once it is up."""
        if self._page is None or self._page.url is None:
            return None
        return self._page.url if self.run_id is None else run_url(self._page.url, self.run_id)

    def start(self) -> None:
        """Start serving and return when the page can be opened.

        Raises `MissingExtra` without the packages of the collector, `FedsightError` where it can't start (the port).
        """
        self.runs_dir.mkdir(parents=True, exist_ok=True)
        self._page = LivePage(self.runs_dir, self.host, self.port)
        try:
            self._page.wait_until_up()
        except FedsightError:
            self.stop()
            raise

    def serve_forever(self) -> None:
        """Serve until Ctrl-C."""
        if self._page is None:
            self.start()
        assert self._page is not None
        try:
            self._page.wait()
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop serving."""
        if self._page is not None:
            self._page.stop()
            self._page = None

    def read_events(self, path: str | Path) -> list[JsonObject]:
        """A journal's events in HiveWatch's shapes, all at once."""
        told: list[JsonObject] = []
        run_id = ""
        for event in journal_events(Path(path)):
            run_id = getattr(event, "run_id", None) or run_id
            shape = in_hivewatch_form(event, run_id)
            if shape is not None:
                told.append(shape)
        return told


def run_url(page: str, run_id: str) -> str:
    """The address of a run's page."""
    return f"{page}/runs/{quote(run_id, safe='')}"
