"""The cached index of a viewed folder: kept while it still fits what lies there."""

from __future__ import annotations

import logging
from pathlib import Path

from fedsight.collector.watch import FolderWatch
from fedsight.errors import StoreError
from fedsight.store import Store

logger = logging.getLogger(__name__)


def fit_index(index: Path, folder: Path) -> None:
    """Throw a cached index away that is damaged, or knows of journals that are gone or shorter now."""
    if not index.exists():
        return
    ends = {found.header.journal: found.end for found in FolderWatch(folder).scan()}
    try:
        store = Store.open(index)
    except StoreError as error:
        logger.info("the cached index is made anew: %s", error)
    else:
        cursors = store.cursors()
        store.close()
        if all(offset <= ends.get(journal, -1) for journal, offset in cursors.items()):
            return
    remove_index(index)


def remove_index(index: Path) -> None:
    """Delete a store's file and what belongs to it."""
    for file in (index, index.with_name(index.name + ".wal")):
        file.unlink(missing_ok=True)
