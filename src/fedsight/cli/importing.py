"""`fedsight import …`: what other tools recorded, as journals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedsight.errors import FedsightError

import_app = typer.Typer(no_args_is_help=True, help="Turn what other tools recorded into journals.")

SKIPPED_SHOWN = 20


@import_app.callback()
def _imports() -> None:
    """Keeps `hivewatch` a command of its own while it is the only one."""


@import_app.command("hivewatch")
def import_hivewatch(
    files: Annotated[list[Path], typer.Argument(help="HiveWatch's files: runs/*.jsonl, of any version.")],
    into: Annotated[
        Path, typer.Option(help="Folder for the journals. Nothing in it is overwritten.", show_default=True)
    ] = Path("imported-runs"),
) -> None:
    """Turn HiveWatch's JSONL files into journals, each event once and at its own time.

    Lines that can't be understood are named and skipped. Exit status 1 when a file could not be imported; the others
    are imported then.
    """
    from fedsight.imports.hivewatch import import_file

    failed = 0
    done = []
    for file in files:
        try:
            told = import_file(file, into)
        except FedsightError as error:
            failed += 1
            typer.echo(f"fedsight: {error}", err=True)
            continue
        except OSError as error:
            failed += 1
            typer.echo(f"fedsight: {error.filename or file}: {error.strerror}", err=True)
            continue
        if told.num_events:
            done.append(told)
        else:  # an empty journal would only be in the way of the next try
            told.journal.unlink()
            failed += 1
            typer.echo(
                f"fedsight: {told.source}: no line of it is an event of HiveWatch's; nothing is imported", err=True
            )
        if told.num_events:
            typer.echo(
                f"{told.source} → {told.journal}: {told.num_events:,} events ({told.num_updates:,} updates, "
                f"{told.num_rounds:,} rounds)"
            )
        if told.num_recovered:
            typer.echo(f"  {told.num_recovered:,} updates had lost their line and were taken from their round's end")
        for skipped in told.skipped[:SKIPPED_SHOWN]:
            typer.echo(f"  line {skipped.number}: {skipped.reason}; skipped", err=True)
        if len(told.skipped) > SKIPPED_SHOWN:
            typer.echo(f"  … and {len(told.skipped) - SKIPPED_SHOWN:,} more lines", err=True)
    if done:
        num_skipped = sum(len(told.skipped) for told in done)
        typer.echo(
            f"{len(done)} of {len(files)} files imported: {sum(told.num_events for told in done):,} events, "
            f"{num_skipped:,} {'line' if num_skipped == 1 else 'lines'} skipped. Look at them with: fedsight view {into}"
        )
    if failed:
        raise typer.Exit(1)
