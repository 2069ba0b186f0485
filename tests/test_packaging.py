"""What an installation needs, and what it brings along."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fedsight

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same module, as the package manager vendors it
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

BARE = """
import importlib.abc, sys

class OnlyTheBase(importlib.abc.MetaPathFinder):
    allowed = {"fedsight", "msgspec", "psutil"} | sys.stdlib_module_names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyTheBase())
"""


def run_bare(code, cwd):
    """Run Python code in a process that has nothing but the standard library, msgspec and psutil."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", BARE + code]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


def test_the_recorder_needs_only_its_two_dependencies(tmp_path):
    done = run_bare(
        """
import json, fedsight, fedsight.emitters
with fedsight.init(verbose=False) as run:
    run.log_client_update("a", round=0, local_loss=0.5)
print(json.dumps(sorted({m.partition(".")[0] for m in sys.modules} - set(sys.stdlib_module_names))))
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    loaded = {name for name in json.loads(done.stdout) if not name.startswith("_")} - {"sitecustomize"}
    assert {"fedsight", "msgspec"} <= loaded <= {"fedsight", "msgspec", "psutil"}
    assert list((tmp_path / "runs").glob("*.jsonl"))


def test_the_recorder_does_not_import_the_collector(tmp_path):
    done = run_bare("import fedsight\nprint([m for m in sys.modules if m.startswith('fedsight')])", tmp_path)
    assert done.returncode == 0, done.stderr
    for part in ("collector", "store", "demo", "cli"):
        assert f"fedsight.{part}'" not in done.stdout.replace(f"fedsight.emitters.{part}'", "")


@pytest.mark.parametrize(("command", "extra"), [("serve", "collector"), ("demo", "collector"), ("view", "collector")])
def test_a_missing_extra_is_answered_with_the_command_that_installs_it(command, extra, tmp_path):
    done = run_bare(f"sys.argv = ['fedsight', {command!r}]\nfrom fedsight.cli import main; main()", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("fedsight: ")
    assert f"pip install 'fedsight[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_says_what_works_where_only_the_recorder_is_installed(arguments, tmp_path):
    done = run_bare(f"sys.argv = ['fedsight', *{arguments}]\nfrom fedsight.cli import main; main()", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"monitor", "probes", "sync"} <= set(done.stdout.split())
    assert "pip install 'fedsight[collector]'" in done.stdout


def test_sync_works_where_only_the_recorder_is_installed(tmp_path):
    (tmp_path / "runs").mkdir()
    fedsight.Run("exp", runs_dir=tmp_path / "runs", verbose=False).finish()
    done = run_bare(
        "sys.argv = ['fedsight', 'sync', 'runs', '--url', 'http://127.0.0.1:1']\nfrom fedsight.cli import main; main()",
        tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("fedsight: The collector http://127.0.0.1:1 can't be reached")


def test_the_demo_without_numpy_names_its_extra(tmp_path):
    code = """
import importlib.abc, sys
class NoNumpy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "numpy":
            raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
sys.meta_path.insert(0, NoNumpy())
sys.argv = ["fedsight", "demo", "--help"]
from fedsight.cli import main; main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "fedsight: numpy is not installed. Install it with: pip install 'fedsight[demo]'\n"


def test_the_version_is_said_once():
    assert PYPROJECT["project"]["version"] == fedsight.__version__


def test_only_two_packages_are_required():
    names = sorted(spec.partition(">")[0] for spec in PYPROJECT["project"]["dependencies"])
    assert names == ["msgspec", "psutil"]


@pytest.mark.slow
def test_the_wheel_brings_the_dashboard_its_types_and_the_licence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("fedsight-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "fedsight/web/dist/index.html" in names
    assert any(name.startswith("fedsight/web/dist/assets/") and name.endswith(".js") for name in names)
    assert "fedsight/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("ui/", "tests/")) or "node_modules" in name]
