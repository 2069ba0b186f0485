"""`fedsight sync --to NAME`: what a run's journals hold, delivered to any emitter after the fact."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fedsight.delivery import emitter_log
from fedsight.emitters import Emitter, as_emitters
from fedsight.emitters.collector import end_dead_run
from fedsight.emitters.following import Following
from fedsight.emitters.registry import entries, make
from fedsight.emitters.state import EmitterState
from fedsight.emitters.track import main_path
from fedsight.errors import FedsightError, JournalError, MissingExtra, UsageError
from fedsight.events import JournalHeader, encode
from fedsight.journal import JournalWriter, closing_lines, list_journals, read_header, writer_alive
from fedsight.journal.cursor import saved_positions

_PATIENCE_SEC = 30.0
"""How long a run's emitter may fail before it is given up."""
_HANG_SEC = 600.0
"""How long a call that doesn't fail may take: of a large batch at a slow place."""
_LOOK_SEC = 0.5
_PROGRESS_SEC = 3.0

Say = Callable[[str], None]


def deliver_to(name: str, options: dict[str, Any], paths: Sequence[Path], say: Say) -> bool:
    """Deliver journals, or folders of them, to the emitter `name`, a run after the other. True when it has all.

    A journal whose writer is dead and whose run never ended is first ended as killed. Gives up on a
    run when nothing of it gets through for 30 s, 10 min where its emitter is at work and doesn't fail.
    A run that was delivered elsewhere by such an emitter is not delivered without options, which would
    make a second copy: where it is, is said. What is seen only as long as this process lives (a port for
    Prometheus) is shown until Ctrl-C.

    Raises `UsageError` for journals, emitters and options that there aren't, `MissingExtra` for a
    package that is not installed.
    """
    entry = next((each for each in entries() if each.name == name), None)
    if entry is not None and entry.extra is not None and not entry.is_installed:
        raise MissingExtra(entry.packages[0], entry.extra)
    as_emitters([make(name, options)])  # a mistake is said once, before anything else
    families = _families(paths)
    if not families:
        raise UsageError("paths", f"There are no journals of runs in {', '.join(map(str, paths))}.")
    complete = 0
    shown: set[str] = set()
    for family in families:
        try:
            (emitter,) = as_emitters([make(name, options)])
            if not options:
                _check_that_it_is_no_second_copy(emitter, family[0])
            if _deliver_run(emitter, family, say):
                complete += 1
                if getattr(getattr(emitter, "destination", None), "ends_with_process", False):
                    shown.add(emitter.destination.where())  # type: ignore[attr-defined]
        except (FedsightError, OSError) as error:
            say(f"{family[0]}: {error}")
    say(f"{complete} of {len(families)} runs are complete at {name}.")
    if shown:
        say(f"Shown at {', '.join(sorted(shown))} until Ctrl-C.")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return complete == len(families)


def _check_that_it_is_no_second_copy(emitter: Emitter, path: Path) -> None:
    if not isinstance(emitter, Following):
        return
    states = {saved.destination: saved.state for saved in saved_positions(path) if isinstance(saved.state, dict)}
    if emitter.identity in states:
        return
    options = {place: state.get("sync_options") or [] for place, state in states.items()}
    kind = emitter.sync_options()[:2]
    if there := {place: given for place, given in options.items() if given[:2] == kind}:
        commands = "".join(f"\n  {shlex.join(['fedsight', 'sync', str(path), *given])}" for given in there.values())
        raise UsageError(
            "set",
            f"it was delivered to {', '.join(there)} before, and without --set it would come to {emitter.identity}, as a "
            f"second copy. Go on there with:{commands}\nor name another place by --set.",
        )


def _families(paths: Sequence[Path]) -> list[list[Path]]:
    """The journals by run: each with those of its forked children, which it comes before."""
    found: set[Path] = set()
    for path in paths:
        for each in list_journals(path) if path.is_dir() else [path]:
            try:
                header = read_header(each)
            except JournalError:
                if not path.is_dir():
                    raise
                continue
            if header.role in ("server", "client") and header.run_id is not None:
                found.add(each)
                if main_path(each).exists():
                    found.add(main_path(each))
    ordered = sorted(found, key=lambda each: (str(main_path(each)), each != main_path(each), str(each)))
    return [list(family) for _, family in groupby(ordered, key=main_path)]


def _deliver_run(emitter: Emitter, family: Sequence[Path], say: Say) -> bool:
    for path in family:
        end_dead_run(path)
    for path in family:
        emitter.attach(path)
    try:
        is_complete = _wait_for(emitter, family, say)
        state = emitter.state()
        told = emitter.delivered() if is_complete else emitter.pending(family)
    finally:
        emitter.detach(family)
    say(f"{family[0]}: {told}")
    if state.num_events or not is_complete:
        _note(family[0], state, "delivered" if is_complete else "pending", told, is_complete and not state.num_failed)
    return is_complete


def _wait_for(emitter: Emitter, family: Sequence[Path], say: Say) -> bool:
    """Wait as long as there is progress."""
    is_terminal = sys.stdout.isatty()
    delivered, progress_sec, said_sec = -1, time.monotonic(), time.monotonic()
    while not emitter.drain(family, _LOOK_SEC):
        state, now_sec = emitter.state(), time.monotonic()
        if state.delivered_bytes != delivered:
            delivered, progress_sec = state.delivered_bytes, now_sec
        if now_sec - progress_sec > (_HANG_SEC if state.failing_since is None else _PATIENCE_SEC):
            return False
        if now_sec - said_sec > (_LOOK_SEC if is_terminal else _PROGRESS_SEC):
            said_sec = now_sec
            if is_terminal:
                sys.stdout.write(f"\r\x1b[2K{family[0]}: {emitter.pending(family)}")
                sys.stdout.flush()
            else:
                say(f"{family[0]}: {emitter.pending(family)}")
    if is_terminal:
        sys.stdout.write("\r\x1b[2K")
    return True


def _note(path: Path, state: EmitterState, event: str, told: str, is_good: bool) -> None:
    """Leave word in the journal, for the dashboard, where nobody else writes to it."""
    header: JournalHeader = read_header(path)
    if writer_alive(path) or not os.access(path, os.W_OK):
        return
    log = encode(emitter_log(state, event, told, is_good=is_good))
    JournalWriter(
        path,
        role=header.role,
        run_id=header.run_id,
        client_id=header.client_id,
        on_open=lambda _, found: [*(closing_lines(found) if found else []), log],
    ).close()
