"""The control groups that a process is in, and what they allow it (Linux: cgroups v1 and v2, cgroups(7)).

Limits nest: a group may use no more than the smallest limit among itself and those it is in. Paths are taken from
`/proc/<pid>/cgroup` and `/proc/self/mountinfo`, both as this process sees them, so they are right in a container.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import msgspec

from fedsight.monitor.member import read_file

_NO_LIMIT = 1 << 62
"""cgroup v1 says "no limit" with the largest multiple of a page below 2**63."""


class Cgroup(msgspec.Struct, frozen=True):
    """One controller's group. `folders`: its own, then each it lies in, as far as they can be seen.

    is_root: it is the whole machine's, and no container's.
    """

    version: int
    folders: tuple[Path, ...]
    is_root: bool

    @property
    def folder(self) -> Path:
        """Where the group's own files are."""
        return self.folders[0]


def find_cgroup(controller: str, pid: int, root: Path = Path("/")) -> Cgroup | None:
    """The group of `pid` for "memory", "cpu", "cpuacct", or "" for the v2 hierarchy; None where there is none."""
    try:
        paths = _paths((root / "proc" / str(pid) / "cgroup").read_text())
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except FileNotFoundError:
        return None
    version = 1 if controller and controller in paths else 2
    path = paths.get(controller, paths.get(""))
    if path is None:
        return None
    best: Cgroup | None = None
    for line in mounts:
        found = _mounted(line, controller, version, path, root)
        if found is not None and (best is None or len(found.folders) > len(best.folders)):
            best = found
    return best


def _paths(text: str) -> dict[str, str]:
    """Each controller's path; the path in the v2 hierarchy under ""."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for each in controllers.split(","):
            paths[each] = path
    return paths


def _mounted(line: str, controller: str, version: int, path: str, root: Path) -> Cgroup | None:
    left, _, right = line.partition(" - ")
    kind, _, options = right.split(" ", 2)
    if kind != ("cgroup2" if version == 2 else "cgroup"):
        return None
    if version == 1 and controller not in options.split(","):
        return None
    mounted, point = (_unescape(each) for each in left.split(" ")[3:5])
    inner = PurePosixPath(path)
    if ".." in inner.parts:
        return None  # outside of what this process may see
    inside = inner.relative_to(mounted) if inner.is_relative_to(mounted) else PurePosixPath(".")
    top = root / point.lstrip("/")
    own = top / inside
    if not own.is_dir():
        return None
    folders = [own, *own.parents]
    folders = folders[: folders.index(top) + 1]
    if version == 2:
        # The files of a controller are missing in the machine's root group, and only there.
        is_root = not any((own / name).exists() for name in ("memory.current", "cgroup.type"))
    else:
        is_root = own == top and mounted == "/"
    return Cgroup(version=version, folders=tuple(folders), is_root=is_root)


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def memory_limit(group: Cgroup) -> tuple[int, Path] | None:
    """The smallest memory limit in bytes, and the folder of the group that sets it; None where there is none."""
    name = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
    limits = [(limit, folder) for folder in group.folders if (limit := number_of(folder / name)) is not None]
    if group.version == 1:
        # What lies above the groups that can be seen is in this figure alone.
        nested = number_in(group.folder / "memory.stat", "hierarchical_memory_limit")
        if nested is not None:
            limits.append((nested, group.folders[-1]))
    limits = [each for each in limits if each[0] < _NO_LIMIT]
    return min(limits, key=lambda each: each[0]) if limits else None


def memory_usage_file(version: int, folder: Path) -> Path:
    """The file that tells how many bytes a group uses."""
    return folder / ("memory.current" if version == 2 else "memory.usage_in_bytes")


def cpu_quota(group: Cgroup) -> float | None:
    """How many CPUs' time the group may use, the smallest quota; None where there is none."""
    quotas = []
    for folder in group.folders:
        if group.version == 2:
            text = _text(folder / "cpu.max")
            quota, period = text.split() if text else ("max", "0")
        else:
            quota = _text(folder / "cpu.cfs_quota_us") or "-1"
            period = _text(folder / "cpu.cfs_period_us") or "0"
        if quota not in ("max", "-1") and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas) if quotas else None


def number_in(path: Path, name: str) -> int | None:
    """The number behind `name` in a file of `name number` lines; None where there is none."""
    text = "\n" + (_text(path) or "")
    start = text.find(f"\n{name} ")
    return None if start < 0 else int(text[start + 1 :].split(None, 2)[1])


def number_of(path: Path) -> int | None:
    """The number in a file; None where the kernel has no such file, or it says "max"."""
    text = _text(path)
    return None if text is None or text == "max" else int(text)


def _text(path: Path) -> str | None:
    try:
        return read_file(str(path), 16384).decode().strip()
    except OSError:  # not there, not ours to read, or the group was just removed
        return None
