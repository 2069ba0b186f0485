"""Any program under a monitor, where there is no `fork`."""

from __future__ import annotations

import sys
from pathlib import Path

from fedsight.monitor.account import account
from fedsight.monitor.command import WatchOptions, _run_simply
from fedsight.monitor.report import Look, report


def test_without_fork_a_program_is_measured_from_soon_after_its_start(tmp_path: Path) -> None:
    program = "import time\nend = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass\nraise SystemExit(7)"
    options = WatchOptions(interval=0.05, output=tmp_path / "kept.jsonl")
    with _run_simply(sys.executable, ["python", "-c", program], options) as watched:
        found = account(watched, 20, None)
    assert watched.exit_status == 7
    assert found.cpu_cores is not None
    assert found.cpu_cores > 0.02
    assert "\n  exit status  7 after" in report(found, Look())
    assert b"exit status 7 after" in (tmp_path / "kept.jsonl").read_bytes()


def test_a_program_that_is_over_before_it_can_be_measured_still_has_its_status(tmp_path: Path) -> None:
    with _run_simply(sys.executable, ["python", "-c", "raise SystemExit(3)"], WatchOptions(interval=1)) as watched:
        assert report(account(watched, 20, None), Look())
    assert watched.exit_status == 3
