"""The plain loop in examples/numpy learns, is recorded, and takes ten lines of Fedsight at most."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from fedsight.events import ClientUpdate, RunEnd
from fedsight.summary import summarize
from fedsight.testing import read_events

EXAMPLE = Path(__file__).parents[1] / "examples" / "numpy" / "fedavg.py"


def test_a_plain_loop_is_recorded_whole(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", EXAMPLE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (journal,) = (tmp_path / "runs").glob("*.jsonl")
    events = read_events(journal)[1:]
    rounds = summarize(events)  # type: ignore[arg-type]
    assert list(rounds) == list(range(10))
    accuracies = [each.global_accuracy or 0.0 for each in rounds.values()]
    assert accuracies[-1] > 0.85 > accuracies[0]
    assert all(each.num_completed == 5 == each.num_selected for each in rounds.values())
    updates = [event for event in events if isinstance(event, ClientUpdate)]
    assert all(each.num_samples and each.bytes_sent and each.train_time_sec for each in updates)
    assert isinstance(events[-1], RunEnd)


def test_fedsights_part_is_ten_lines_at_most() -> None:
    code = EXAMPLE.read_text().split('"""', 2)[2]
    ours = [line for line in code.splitlines() if re.search(r"\bfedsight\b|\brun\.|\bresult\b", line)]
    assert 5 <= len(ours) <= 10
