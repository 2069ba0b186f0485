"""Frameworks, each in a virtual environment of its own (their dependencies conflict), with this checkout importable in it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("FEDSIGHT_FRAMEWORKS", ROOT / ".venvs"))

PACKAGES = {
    "nvflare-2.9": ("nvflare==2.9.*", "numpy", "scikit-learn", "mlflow-skinny>=3.1", "sqlalchemy", "alembic"),
    "nvflare-2.8": ("nvflare==2.8.*", "numpy", "scikit-learn"),
    "nvflare-2.7": ("nvflare==2.7.*", "numpy", "scikit-learn"),
    "flower": ("flwr[simulation]", "numpy", "scikit-learn"),
    "flower-1.30": ("flwr[simulation]==1.30.*", "numpy", "scikit-learn"),
    "appfl": ("numpy", "omegaconf", "grpcio", "protobuf", "pyyaml", "colorama", "packaging"),
    "openfl-fedml": (),
}
"""What each environment holds besides Fedsight's own two dependencies."""

ALONE = {"appfl": ("appfl==1.12.*",), "openfl-fedml": ("openfl==1.9.*", "fedml==0.9.6")}
"""What is installed without its own dependencies (PyTorch and more): enough to be imported with stand-ins."""


def python_of(environment: str) -> Path:
    """The interpreter of an environment, made and filled at its first use.

    A package index that does not have the packages skips the test outside CI, naming them.
    """
    folder = FOLDER / environment
    python = folder / "bin" / "python"
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{environment}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, and one makes it for all
        made = folder / "made"
        if not made.exists():
            venv.create(folder, with_pip=True, clear=True)
            _install(python, environment, ["msgspec", "psutil", *PACKAGES[environment]])
            if environment in ALONE:
                _install(python, environment, ["--no-deps", *ALONE[environment]])
            (site_packages,) = folder.glob("lib/python*/site-packages")
            (site_packages / "fedsight.pth").write_text(f"{ROOT / 'src'}\n")
            made.touch()
    return python


def _install(python: Path, environment: str, packages: list[str]) -> None:
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=900)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"{environment} can't be installed here: pip install {' '.join(packages)}")
    assert done.returncode == 0, done.stderr


def run_in(
    environment: str,
    script: Path,
    *arguments: object,
    folder: Path | None = None,
    timeout_sec: float = 240,
    **variables: str,
) -> str:
    """What a script prints, run by an environment's interpreter in `folder`; `variables` are added to its environment.

    What it started ends with it where it takes too long.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith(("FEDSIGHT_", "PYTHON", "COV"))}
    command = [str(python_of(environment)), str(script), *map(str, arguments)]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=own | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=timeout_sec)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            pytest.fail(f"{script.name} took longer than {timeout_sec} s:\n{printed[-5000:]}")
    assert process.returncode == 0, printed[-5000:]
    return printed
