"""Emitters are found by name, built in or brought by another package."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fedsight.emitters
from fedsight import UsageError
from fedsight.emitters.registry import entries, load, make, options_from


def install_a_package(folder: Path) -> None:
    """What `pip install` of a package that brings an emitter leaves behind."""
    (folder / "acme_emitter.py").write_text(
        "class AcmeEmitter:\n"
        "    def __init__(self, place, colour='red'):\n"
        "        self.place, self.colour = place, colour\n"
        "    def on_round(self, summary, clients): ...\n"
    )
    info = folder / "acme_fedsight-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-fedsight\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fedsight.emitters]\nacme = acme_emitter:AcmeEmitter\nmlflow = acme_emitter:AcmeEmitter\n"
    )


@pytest.mark.parametrize("name", [name for name in fedsight.emitters.__all__ if name.endswith("Emitter")])
def test_every_built_in_emitter_can_be_asked_for_by_name(name: str) -> None:
    assert getattr(fedsight.emitters, name) is not None


def test_asking_for_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchEmitter"):
        _ = fedsight.emitters.NoSuchEmitter


def test_every_registered_name_leads_to_its_class() -> None:
    for entry in entries():
        assert load(entry.name).__name__ == entry.target.partition(":")[2]


def test_another_package_brings_an_emitter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_a_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    (entry,) = [each for each in entries() if each.origin != "fedsight"]
    assert (entry.name, entry.origin, entry.is_installed) == ("acme", "acme-fedsight", True)
    made = make("acme", {"place": "here"})
    assert (made.place, made.colour) == ("here", "red")


def test_the_command_lists_them_all(tmp_path: Path) -> None:
    install_a_package(tmp_path)
    shown = subprocess.run(
        [sys.executable, "-c", "from fedsight.cli import main; main()", "emitters", "list"],
        env={"PYTHONPATH": str(tmp_path), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    for text in ("collector", "mlflow", "TensorBoardEmitter", "acme_emitter:AcmeEmitter", "acme-fedsight"):
        assert text in shown.stdout


def test_what_a_missing_package_needs_is_said() -> None:
    code = (
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'wandb' else found(name, *a)\n"
        "from fedsight.cli import main; main()"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "emitters", "list"],
        env={"COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "no: pip install 'fedsight[wandb]'" in shown.stdout


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("nope", {}, "There is no emitter 'nope'"),
        ("nope:Class", {}, "can't be imported"),
        ("filed:Nope", {}, "filed has no Nope"),
        ("filed:FiledDestination", {"paht": "x"}, "no option 'paht'. It has: path, die_at"),
        ("filed:FiledDestination", {}, "needs --set path="),
    ],
)
def test_a_mistake_names_what_there_is(name: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make(name, options)


def test_options_are_json_where_they_parse() -> None:
    assert options_from(["n=3", 'tags={"a":1}', "on=true", "uri=http://x/?a=b", "name=abc", "empty="]) == {
        "n": 3, "tags": {"a": 1}, "on": True, "uri": "http://x/?a=b", "name": "abc", "empty": "",
    }  # fmt: skip
    with pytest.raises(UsageError, match="key=value"):
        options_from(["experiment"])
