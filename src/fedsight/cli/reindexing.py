"""`fedsight reindex`: a new index from the journals, put in place when it is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from fedsight.collector.indexer import Indexer
from fedsight.collector.lock import FolderLock
from fedsight.collector.settings import MB, view_index
from fedsight.collector.viewed import remove_index
from fedsight.collector.watch import FolderWatch
from fedsight.errors import StoreError, UsageError
from fedsight.store import Store


def reindex(folder: Path, console: Console) -> None:
    """Rebuild the index of a data folder, or of a folder of journals.

    Raises `UsageError` when it is neither, `StoreError` while a collector holds it, and, once everything
    else is indexed, when some journals could not be.
    """
    if not folder.is_dir():
        raise UsageError("folder", f"{folder} is no folder; give a collector's data folder, or a folder of journals")
    is_data = (folder / "journals").is_dir()
    journals = folder / "journals" if is_data else folder
    index = folder / "index.duckdb" if is_data else view_index(folder)
    lock = folder / "collector.lock" if is_data else index.with_suffix(".lock")
    with FolderLock(lock, "fedsight reindex"):
        new = index.with_name(f"{index.name}.new-{os.getpid()}")
        began = time.monotonic()
        try:
            with Progress(
                TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
            ) as progress:
                task = progress.add_task("Reading journals", total=None)
                num_journals, num_bytes, skipped = build(
                    journals,
                    new,
                    on_total=lambda total: progress.update(task, total=total),
                    on_progress=lambda done: progress.advance(task, done),
                )
            index.with_name(index.name + ".wal").unlink(missing_ok=True)
            new.replace(index)
        finally:
            remove_index(new)
    console.print(
        f"{num_journals} journals, {num_bytes / MB:,.1f} MB, indexed in {time.monotonic() - began:.1f} s: {index}",
        highlight=False,
        soft_wrap=True,
    )
    if skipped:
        named = "; ".join(f"{path.name}: {reason}" for path, reason in skipped.items())
        raise StoreError(f"{len(skipped)} files were skipped, their events are not in the index. {named}")


def build(
    journals: Path, index: Path, *, on_total: Callable[[int], object], on_progress: Callable[[int], object]
) -> tuple[int, int, dict[Path, str]]:
    """Write a new index of all journals in a folder.

    Returns how many journals and bytes it holds, and which files could not be indexed, with the reason.
    """
    store = Store.open(index)
    try:
        indexer = Indexer(store, lambda _: None, max_queue_bytes=0)
        watch = FolderWatch(journals)
        for journal in watch.scan():
            indexer.grown(journal.path, journal.header, journal.end, journal.changed_at)
        on_total(indexer.pending_bytes)
        indexer.run_dry(on_progress)
        cursors = store.cursors()
        return len(cursors), sum(cursors.values()), watch.left_out() | indexer.unreadable()
    finally:
        store.close()
