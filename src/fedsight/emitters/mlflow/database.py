"""MLflow's SQLite file, put in place when it is whole.

MLflow fills a new database step by step, and can't go on with one that a kill, or the end of a short
program, left in between.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_SCHEME = "sqlite:///"


def create_where_missing(uri: str) -> None:
    """Have MLflow fill a new file beside the one that `uri` names, and give it that name, where there is none yet.

    Raises what MLflow raises, and `OSError` from the disk.
    """
    path = _file_of(uri)
    if path is None or path.exists() or not path.parent.is_dir():
        return
    from mlflow import MlflowClient

    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        MlflowClient(tracking_uri=f"{_SCHEME}{new}").search_experiments(max_results=1)
        _place(new, path)
    finally:
        new.unlink(missing_ok=True)


def _place(new: Path, path: Path) -> None:
    try:
        os.link(new, path)
    except FileExistsError:  # another process was faster
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            new.rename(path)


def _file_of(uri: str) -> Path | None:
    name = uri.removeprefix(_SCHEME).partition("?")[0]
    if not uri.startswith(_SCHEME) or name in ("", ":memory:") or name.startswith("file:"):
        return None
    return Path(name).absolute()
