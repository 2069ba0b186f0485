"""Peers, each in a virtual environment of its own, and a script of `peers/` run in one of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".venvs"

PACKAGES = {
    "jsonl": "",
    "fedsight": "",
    "floor": "",
    "trackio": "trackio==0.43.0",
    "wandb": "wandb==0.31.0",
    "tensorboard": "tensorboardX==2.6.5",
    "mlflow": "mlflow==3.17.2",
    "hivewatch": "hivewatch==0.3.1",
    "hivewatch+mlflow": "hivewatch==0.3.1 mlflow==3.17.2",
    "heflwr": "heflwr==0.1.91 numpy",
    "flower": "flwr==1.42.0 numpy msgspec psutil",
    "nvflare-2.8": "nvflare==2.8.3 msgspec psutil",
    "nvflare-2.9": "nvflare==2.9.0 msgspec psutil mlflow-skinny==3.17.2 sqlalchemy alembic",
}
"""What each is installed from; nothing where this interpreter has it."""


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, made and filled at the first use."""
    packages = PACKAGES[peer].split()
    if not packages:
        return Path(sys.executable)
    folder = ENVIRONMENTS / peer
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"setting up {peer} …", file=sys.stderr)
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
    return python


def measured(python: Path, script: str, *arguments: object, timeout_sec: float = 600) -> dict[str, Any]:
    """What `peers/<script>` prints in its last line, run in a new folder."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=HERE))
    try:
        out = subprocess.run(
            [python, HERE / "peers" / script, *map(str, arguments)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
            timeout=timeout_sec,
        )
        result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)
