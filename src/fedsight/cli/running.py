"""`fedsight serve` and `fedsight view`: start, say where it is, run until stopped."""

from __future__ import annotations

import logging
import shlex
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from fedsight.collector.access import Tokens
from fedsight.collector.app import FrontDoor
from fedsight.collector.lock import FolderLock
from fedsight.collector.server import serve
from fedsight.collector.settings import DEFAULT_PORT, Settings
from fedsight.collector.viewed import fit_index
from fedsight.errors import StoreError

logger = logging.getLogger(__name__)


def run(settings: Settings, *, port_was_asked_for: bool) -> None:
    """Run a collector in this process until it is told to stop."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    console = Console(soft_wrap=True, highlight=False)

    def say(url: str, app: FrontDoor) -> None:
        if not port_was_asked_for and not url.endswith(f":{DEFAULT_PORT[settings.mode]}"):
            console.print(f"Port {DEFAULT_PORT[settings.mode]} is taken.")
        if settings.mode == "serve":
            console.print(f"Fedsight collector: [bold]{url}[/]  (data in {settings.folder})")
            _first_token(app.parts.tokens, url, settings.folder, console)
        else:
            console.print(f"Fedsight shows {settings.folder}: [bold]{url}[/]")
        console.print("Stop with Ctrl+C.")

    if settings.mode == "serve":
        serve(settings, on_start=say, next_port=not port_was_asked_for)
    else:
        with tempfile.TemporaryDirectory(prefix="fedsight-view-") as spare:
            held = _view_index(settings, Path(spare))
            with held[1]:
                serve(held[0], on_start=say, next_port=not port_was_asked_for)


def _view_index(settings: Settings, spare: Path) -> tuple[Settings, FolderLock]:
    """Where the view's index can be: in the cache, else (in use, or not writable) in a folder for this time only."""
    try:
        lock = FolderLock(settings.index.with_suffix(".lock"), "fedsight view")
    except (OSError, StoreError) as error:
        logger.info("the cached index can't be used: %s", error)
        settings = msgspec.structs.replace(settings, index=spare / "view.duckdb")
        lock = FolderLock(settings.index.with_suffix(".lock"), "fedsight view")
    fit_index(settings.index, settings.folder)
    return settings, lock


def _first_token(tokens: Tokens | None, url: str, data: Path, console: Console) -> None:
    if tokens is None or tokens.grants():
        return
    create = f"fedsight token create --data {escape(shlex.quote(str(data)))}"
    if not console.is_terminal:
        # What is printed here is kept in a log, where a secret must not be.
        console.print(f"There is no token yet; whoever ships journals needs one: {create} --role producer")
        return
    token, _ = tokens.create("producer", name="made at the first start")
    console.print(
        "\nA first token was made. It ships journals and reads nothing; it is shown this once and not kept:\n"
    )
    console.print(f"  [bold]{token}[/]\n")
    console.print("Ship to this collector with it:\n")
    console.print(f"  export FEDSIGHT_COLLECTOR={url}\n  export FEDSIGHT_TOKEN={token}\n")
    console.print("Make more, for one run or one client alone, or to look from other machines:\n")
    console.print(f"  {create} --role producer --run RUN --client CLIENT\n  {create} --role viewer\n")
