"""The account of a program as people read it: a table, and its curves over time."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Callable, Iterator, Sequence

import msgspec

from fedsight.monitor.account import Account
from fedsight.monitor.amounts import bytes_text, energy_text, number_text, time_text

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " _.-=+*#@"
_LABEL_WIDTH = 13
_LARGEST_NOTE_WIDTH = 22
_LONGEST_CURVE = 120
_FEWEST_INTERVALS = 3
"""Of fewer, a curve is no more than the average above it."""

_CURVE_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("cpu_cores", "CPU", lambda value: f"{number_text(value)} cores"),
    ("ram_mb", "memory", lambda value: bytes_text(value * 1e6)),
    ("gpu_util_pct", "GPU", lambda value: f"{number_text(value)} %"),
    ("gpu_vram_mb", "GPU memory", lambda value: bytes_text(value * 1e6)),
    ("power_w", "power", lambda value: f"{number_text(value)} W"),
)
_POWER_PROBES = frozenset({"jetson", "rapl", "gpu_nvidia", "gpu_amd"})


class Look(msgspec.Struct, frozen=True):
    """How the report is to look. width: in columns."""

    width: int = 80
    has_blocks: bool = False
    has_colour: bool = False

    @property
    def num_points(self) -> int:
        """How many points of a curve there is room for."""
        return max(10, min(_LONGEST_CURVE, self.width - _LABEL_WIDTH - _LARGEST_NOTE_WIDTH - 4))


def report(account: Account, look: Look) -> str:
    """The whole of it, with a newline at the end."""
    lines = [_bold(f"fedsight monitor: {_shortened(_command(account), look)}", look)]
    for label, text in _rows(account):
        wrapped = textwrap.wrap(text, max(20, look.width - _LABEL_WIDTH - 2)) or [""]
        lines.append(f"  {_dim(label.ljust(_LABEL_WIDTH), look)}{wrapped[0]}")
        lines += [" " * (_LABEL_WIDTH + 2) + each for each in wrapped[1:]]
    lines += _curves(account, look)
    return "\n".join(lines) + "\n"


def _command(account: Account) -> str:
    return shlex.join(account.command) if account.command else f"process {account.pid}"


def _rows(account: Account) -> Iterator[tuple[str, str]]:
    yield _ending(account)
    if account.cpu_sec is not None:
        parts = ""
        if account.user_cpu_sec is not None and account.system_cpu_sec is not None:
            parts = f" (user {time_text(account.user_cpu_sec)}, system {time_text(account.system_cpu_sec)})"
        yield "CPU time", time_text(account.cpu_sec) + parts
        share = (
            "" if account.cpu_pct is None else f", {number_text(account.cpu_pct)} % of the machine's {_cpus(account)}"
        )
        yield "CPU use", f"{number_text(account.cpu_cores or 0.0)} cores on average{share}"
    if account.memory_peak_bytes is not None:
        yield "memory", _memory(account)
    yield from _gpu_rows(account)
    if account.disk_read_bytes is not None and account.disk_written_bytes is not None:
        yield "disk", f"{bytes_text(account.disk_read_bytes)} read, {bytes_text(account.disk_written_bytes)} written"
    if account.network_sent_bytes is not None and account.network_received_bytes is not None:
        sent, received = bytes_text(account.network_sent_bytes), bytes_text(account.network_received_bytes)
        yield "network", f"{sent} sent, {received} received (the whole machine's)"
    if account.energy_j is not None:
        watts = number_text(account.energy_j / account.duration_sec)
        yield "energy", f"{energy_text(account.energy_j)}, {watts} W on average (the whole machine's)"
    elif account.problems.keys() >= _POWER_PROBES:
        yield "energy", "can't be measured here; `fedsight probes` says why"
    if account.num_minor_faults is not None and account.num_major_faults is not None:
        yield "page faults", f"{account.num_minor_faults:,.0f} minor, {account.num_major_faults:,.0f} major"
    if account.num_voluntary_switches is not None:
        yield (
            "switches",
            f"{account.num_voluntary_switches:,} voluntary, {account.num_involuntary_switches:,} involuntary",
        )
    yield from _monitor_rows(account)


def _ending(account: Account) -> tuple[str, str]:
    after = f"after {time_text(account.duration_sec)}"
    if not account.has_ended:
        return "still running", after
    if account.signal is not None:
        return "killed", f"by {account.signal} {after}"
    if account.exit_status is None:
        return "ended", after
    return "exit status", f"{account.exit_status} {after}"


def _cpus(account: Account) -> str:
    count = int(account.num_cpus or 1)
    return "CPU" if count == 1 else f"{count} CPUs"


def _memory(account: Account) -> str:
    assert account.memory_peak_bytes is not None
    peak = bytes_text(account.memory_peak_bytes)
    parts = [f"{peak} at most" if account.is_peak_exact else f"{peak} at most (read)"]
    if account.memory_mean_bytes is not None:
        parts.append(f"{bytes_text(account.memory_mean_bytes)} on average")
    if account.memory_limit_bytes:
        limit = account.memory_limit_bytes
        parts.append(f"{number_text(100 * account.memory_peak_bytes / limit)} % of {bytes_text(limit)}")
    return ", ".join(parts)


def _gpu_rows(account: Account) -> Iterator[tuple[str, str]]:
    spreads = account.summary["figures"]
    if "gpu_util_pct" in spreads:
        used = spreads["gpu_util_pct"]
        yield "GPU", f"{number_text(used['mean'])} % on average, {number_text(used['max'])} % at most"
    if "gpu_vram_mb" in spreads:
        used = spreads["gpu_vram_mb"]
        yield "GPU memory", f"{bytes_text(used['max'] * 1e6)} at most, {bytes_text(used['mean'] * 1e6)} on average"


def _monitor_rows(account: Account) -> Iterator[tuple[str, str]]:
    summary = account.summary
    if summary["num_samples"]:
        own_sec = summary["monitor_cpu_sec"]
        share = 100 * own_sec / account.duration_sec
        readings = "1 reading" if summary["num_samples"] == 1 else f"{summary['num_samples']} readings"
        yield "monitor", f"{readings}, for {time_text(own_sec)} of CPU ({number_text(share)} %)"
    else:
        yield "monitor", "no reading"
    for name, reason in account.problems.items():
        if name not in _POWER_PROBES:
            yield "not measured", reason if reason.startswith(name) else f"{name}: {reason}"
    if account.journal is not None:
        yield "journal", account.journal


# ── curves ────────────────────────────────────────────────────────────────────────────────────


def _curves(account: Account, look: Look) -> list[str]:
    lines = []
    for name, label, text in _CURVE_ROWS if account.summary["num_samples"] > _FEWEST_INTERVALS else ():
        points = account.curves.get(name)
        if not points:
            continue
        known = [each for each in points if each is not None and math.isfinite(each)]
        if not known:
            continue
        line = _cyan(curve(points, max(known), has_blocks=look.has_blocks), look)
        lines.append(f"  {_dim(label.ljust(_LABEL_WIDTH), look)}{line}  {_dim('max', look)} {text(max(known))}")
    if not lines:
        return []
    end = time_text(account.summary["duration_sec"])
    axis = "0 s" + end.rjust(max(len(end) + 1, look.num_points - 3))
    return ["", *lines, " " * (_LABEL_WIDTH + 2) + _dim(axis, look)]


def curve(points: Sequence[float | None], largest: float, *, has_blocks: bool) -> str:
    """One character a point, from 0 to `largest`; a blank is 0 or unknown."""
    marks = _BLOCKS if has_blocks else _ASCII
    return "".join(_mark(point, largest, marks) for point in points)


def _mark(point: float | None, largest: float, marks: str) -> str:
    if point is None or not math.isfinite(point) or largest <= 0 or point <= 0:
        return marks[0]
    return marks[max(1, min(len(marks) - 1, round(point / largest * (len(marks) - 1))))]


def _shortened(command: str, look: Look) -> str:
    text = "".join(each if each.isprintable() else " " for each in command)
    if not look.has_blocks:
        text = text.encode("ascii", "replace").decode()
    room = max(10, look.width - len("fedsight monitor: "))
    ellipsis = "…" if look.has_blocks else "..."
    return text if len(text) <= room else text[: room - len(ellipsis)] + ellipsis


def _bold(text: str, look: Look) -> str:
    return f"\x1b[1m{text}\x1b[0m" if look.has_colour else text


def _dim(text: str, look: Look) -> str:
    return f"\x1b[2m{text}\x1b[0m" if look.has_colour else text


def _cyan(text: str, look: Look) -> str:
    return f"\x1b[36m{text}\x1b[0m" if look.has_colour else text
