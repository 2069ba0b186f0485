"""`fedsight map …`: HiveWatch's command for the dashboard, and map.json on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

map_app = typer.Typer(no_args_is_help=True, help="What HiveWatch's `map` command does: the dashboard, and map.json.")


@map_app.command("run")
def map_run(
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1 is open to this machine alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 7070,
    runs_dir: Annotated[Path, typer.Option(help="Folder of journals; made when it is not there.")] = Path("runs"),
    run_id: Annotated[str | None, typer.Option(help="Say where this run's page is.", show_default=False)] = None,
    map_path: Annotated[
        Path | None,
        typer.Option(help="HiveWatch's own HTML page: not used, the page is Fedsight's.", show_default=False),
    ] = None,
    poll_interval: Annotated[
        float, typer.Option(help="Not used: new events are shown as they come.", show_default=False)
    ] = 1.0,
) -> None:
    """Open the dashboard over a folder of journals: `fedsight view DIR` under HiveWatch's name."""
    from fedsight.cli.running import run
    from fedsight.collector.settings import view_settings
    from fedsight.map.server import run_url

    runs_dir.mkdir(parents=True, exist_ok=True)
    if map_path is not None:
        typer.echo("fedsight: --map-path is not used: the page is Fedsight's own.", err=True)
    if run_id is not None:
        typer.echo(f"The run's page: {run_url(f'http://{host}:{port}', run_id)}")
    run(view_settings(runs_dir, host=host, port=port), port_was_asked_for=True)


@map_app.command("export")
def map_export(
    journal: Annotated[Path, typer.Argument(metavar="RUN.jsonl", help="The run's journal.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to; <run>.map.json beside the journal.", show_default=False),
    ] = None,
) -> None:
    """Write a run's map.json, as HiveWatch's map viewer loads it; sites' own journals beside it are taken in."""
    from fedsight.map import write_map

    typer.echo(write_map(journal, output))
