"""Limits of control groups, in trees like those that v1, v2 and containers show."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fedsight.monitor.cgroup import cpu_quota, find_cgroup, memory_limit, number_in

PID = 77
V2_MOUNT = "30 23 0:26 {root} {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "33 31 0:30 {root} {point} rw shared:9 - cgroup cgroup rw,{controller}"
NO_LIMIT = "9223372036854771712"


def machine(root: Path, groups: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A root folder that shows process 77 in its control groups."""
    everything = {"proc/77/cgroup": groups, "proc/self/mountinfo": "\n".join(mounts), **files}
    for name, text in everything.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def v2(root: Path, files: dict[str, str], *, path: str = "/a/b", mounted: str = "/") -> Path:
    mount = V2_MOUNT.format(root=mounted, point="/sys/fs/cgroup")
    return machine(root, f"0::{path}", [mount], {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def test_v2_the_smallest_limit_of_nested_groups_holds(tmp_path):
    root = v2(
        tmp_path,
        {
            "a/b/memory.max": "max",
            "a/b/memory.current": "123",
            "a/b/cpu.max": "400000 100000",
            "a/memory.max": "1048576",
            "a/cpu.max": "150000 100000",
            "memory.stat": "anon 1",
        },
    )
    memory, cpu = find_cgroup("memory", PID, root), find_cgroup("cpu", PID, root)
    assert memory is not None
    assert cpu is not None
    assert memory.folders == tuple(root / "sys/fs/cgroup" / each for each in ("a/b", "a", ""))
    assert not memory.is_root
    assert memory_limit(memory) == (1048576, root / "sys/fs/cgroup/a")
    assert cpu_quota(cpu) == 1.5


def test_v2_without_limits(tmp_path):
    root = v2(tmp_path, {"a/b/memory.max": "max", "a/b/memory.current": "1", "a/b/cpu.max": "max 100000"})
    group = find_cgroup("memory", PID, root)
    assert group is not None
    assert memory_limit(group) is None
    assert cpu_quota(group) is None


def test_v2_in_a_container_that_sees_its_own_group_as_the_root(tmp_path):
    root = v2(tmp_path, {"memory.max": "2097152", "memory.current": "5"}, path="/")
    group = find_cgroup("memory", PID, root)
    assert group is not None
    assert not group.is_root
    assert memory_limit(group) == (2097152, root / "sys/fs/cgroup")


def test_v2_in_a_container_whose_mount_shows_only_its_group(tmp_path):
    root = v2(tmp_path, {"memory.max": "4096", "memory.current": "5"}, path="/docker/abc", mounted="/docker/abc")
    group = find_cgroup("memory", PID, root)
    assert group is not None
    assert memory_limit(group) == (4096, root / "sys/fs/cgroup")


def test_v2_of_the_whole_machine_is_no_container(tmp_path):
    group = find_cgroup("memory", PID, v2(tmp_path, {"memory.stat": "anon 1"}, path="/"))
    assert group is not None
    assert group.is_root


def test_v2_of_a_process_outside_of_what_may_be_seen(tmp_path):
    assert find_cgroup("memory", PID, v2(tmp_path, {"memory.max": "1"}, path="/../other")) is None


def v1(root: Path, memory: str = "/docker/abc") -> Path:
    mounts = [
        V1_MOUNT.format(root="/", point=f"/sys/fs/cgroup/{name}", controller=name) for name in ("cpu,cpuacct", "memory")
    ]
    files = {
        "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/docker/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
        "memory/docker/abc/memory.limit_in_bytes": NO_LIMIT,
        "memory/docker/abc/memory.stat": "cache 1\nhierarchical_memory_limit 8192\ntotal_inactive_file 7",
        "memory/docker/memory.limit_in_bytes": "16384",
        "memory/memory.limit_in_bytes": NO_LIMIT,
    }
    groups = f"9:name=systemd:/\n4:memory:{memory}\n2:cpu,cpuacct:/docker/abc\n0::/"
    return machine(root, groups, mounts, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def test_v1_the_smallest_limit_holds_also_one_above_what_is_seen(tmp_path):
    root = v1(tmp_path)
    memory, cpu = find_cgroup("memory", PID, root), find_cgroup("cpu", PID, root)
    assert memory is not None
    assert cpu is not None
    assert memory.version == cpu.version == 1
    limit = memory_limit(memory)
    assert limit is not None
    assert limit[0] == 8192
    assert cpu_quota(cpu) == 0.5


def test_v1_of_the_whole_machine_is_no_container(tmp_path):
    group = find_cgroup("memory", PID, v1(tmp_path, memory="/"))
    assert group is not None
    assert group.is_root


def test_a_mount_point_with_a_space_in_its_name(tmp_path):
    mount = V2_MOUNT.format(root="/", point="/my\\040groups")
    root = machine(tmp_path, "0::/a", [mount], {"my groups/a/memory.max": "4096", "my groups/a/memory.current": "1"})
    group = find_cgroup("memory", PID, root)
    assert group is not None
    assert group.folder == tmp_path / "my groups/a"


def test_a_machine_without_control_groups(tmp_path):
    assert find_cgroup("memory", PID, tmp_path) is None
    assert (
        find_cgroup("memory", PID, machine(tmp_path, "4:memory:/a", ["22 27 0:21 / /proc rw - proc proc rw"], {}))
        is None
    )


def test_a_number_is_found_by_its_whole_name(tmp_path):
    file = tmp_path / "memory.stat"
    file.write_text("active_inactive_file 1\ninactive_file 2\ninactive_file_more 3\n")
    assert number_in(file, "inactive_file") == 2
    assert number_in(file, "file") is None
    assert number_in(tmp_path / "none", "file") is None


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_this_process_is_listed_in_the_group_that_is_found():
    group = find_cgroup("memory", os.getpid())
    if group is None:
        pytest.skip("this machine has no memory control groups")
    assert str(os.getpid()) in (group.folder / "cgroup.procs").read_text().split()
