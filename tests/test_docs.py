"""What exists is written down, and what is written down works."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import typer.main

import fedsight
from fedsight.cli.commands import build
from fedsight.collector.settings import ALLOWED_MB, Settings
from fedsight.events import EVENT_TYPES, ClientUpdate

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCS = "\n".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")))
WORDS = set(re.findall(r"`([^`\n]+)`", DOCS))


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def settings():
    """Every environment variable that the source reads, by its name."""
    source = "\n".join(path.read_text() for path in (ROOT / "src").glob("**/*.py"))
    named = set(re.findall(r"\bFEDSIGHT_[A-Z][A-Z_]*[A-Z]\b", source))
    return sorted(named | {f"FEDSIGHT_{name.upper()}" for name in ALLOWED_MB})


def commands():
    root = typer.main.get_command(build([]))
    subcommands = [f"{name} {sub}" for name, each in root.commands.items() for sub in getattr(each, "commands", ())]
    return [*root.commands, *subcommands]


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_event_kind_and_its_fields_are_documented(kind):
    assert kind in WORDS
    fields = {f.name for f in msgspec.structs.fields(EVENT_TYPES[kind])} - {"ts"}
    assert fields - WORDS == set()


def test_the_whole_metadata_contract_is_documented():
    assert set(ClientUpdate.__struct_fields__) - {"ts"} - WORDS == set()


@pytest.mark.parametrize("name", fedsight.__all__)
def test_every_public_name_is_documented(name):
    assert name in WORDS


@pytest.mark.parametrize("command", commands())
def test_every_command_is_documented(command):
    assert f"fedsight {command}" in DOCS


@pytest.mark.parametrize("variable", settings())
def test_every_setting_is_documented(variable):
    assert variable in WORDS


def test_the_documented_defaults_are_the_defaults():
    rows = dict(re.findall(r"^\| `FEDSIGHT_(MAX_\w+|MEMORY_\w+)` \|.*\| (\d+) \|$", DOCS, flags=re.MULTILINE))
    defaults = {f.name: f.default for f in msgspec.structs.fields(Settings)}
    assert rows == {name.upper(): str(defaults[name]) for name in ALLOWED_MB}


@pytest.mark.parametrize("code", python_blocks(README))
def test_the_readmes_code_runs(code, tmp_path):
    strict = [] if "MLflowEmitter" in code else ["-W", "error"]  # MLflow warns while it is imported
    done = subprocess.run([sys.executable, *strict, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Deliver the rest" not in done.stderr
    if "fedsight.init" in code:
        assert list((tmp_path / "runs").glob("*.jsonl"))


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_the_examples_run(path, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", path], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs").glob("*.jsonl"))


def test_links_to_files_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("**/*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_changelog_names_the_version_or_what_is_coming():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{fedsight.__version__}]" in changelog
