"""Open vSwitch: its programs' text as captured from 3.1, and programs that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from collector.sources.replay import FIXTURES, logged, metrics, nodes, poll, topology
from fedsight.collector.sources import ovs
from fedsight.collector.sources.ovs import OvsConfig, OvsSource, parse_flows, parse_ports
from fedsight.collector.sources.source import SourceDown

S1, S2 = "of:0000000000000001", "of:0000000000000002"

PORTS = (FIXTURES / "ovs/dump-ports.txt").read_text()
FLOWS = (FIXTURES / "ovs/dump-flows.txt").read_text()


def test_counters_and_durations_of_ports_are_read() -> None:
    ports = parse_ports(PORTS)
    assert ports.keys() == {"1", "2", "local"}
    counters, duration_sec = ports["1"]
    assert duration_sec == 8.903
    assert counters == {
        "rx_packets": 14,
        "rx_bytes": 1160,
        "rx_dropped": 0,
        "rx_errors": 0,
        "tx_packets": 20,
        "tx_bytes": 1656,
        "tx_dropped": 0,
        "tx_errors": 0,
    }
    assert ports["local"][0]["tx_dropped"] == 13


def test_a_question_mark_is_no_number() -> None:
    text = "  port  11: rx pkts=40, bytes=2662, drop=?, errs=?, frame=?, over=?, crc=?\n           tx pkts=34, bytes=2160, drop=?, errs=?, coll=?\n           duration=24.4s\n"
    counters, _ = parse_ports(text)["11"]
    assert counters["rx_dropped"] is None
    assert counters["tx_errors"] is None
    assert counters["tx_bytes"] == 2160


def test_openflow_1_0_names_ports_and_has_no_duration() -> None:
    text = '  port "eth0": rx pkts=1, bytes=2, drop=0, errs=0, frame=0, over=0, crc=0\n           tx pkts=3, bytes=4, drop=0, errs=0, coll=0\n'
    assert parse_ports(text)["eth0"][1] is None


def test_flows_are_read_with_what_they_match() -> None:
    (normal,) = parse_flows(S1, FLOWS)
    assert (normal.priority, normal.bytes, normal.age_sec, normal.to_controller) == (0, 2140, 8.908, False)
    text = (
        " cookie=0x1, duration=3.5s, table=0, n_packets=9, n_bytes=900, idle_timeout=5, priority=7,"
        "tcp,in_port=1,nw_src=10.0.0.0/24,nw_dst=10.0.1.1,tp_dst=9092 actions=output:2\n"
        " cookie=0x0, duration=3.5s, table=1, n_packets=0, n_bytes=0, dl_dst=01:80:c2:00:00:0e,dl_type=0x88cc actions=CONTROLLER:65535\n"
        " cookie=0x0, duration=3.5s, table=1, n_packets=0, n_bytes=0, priority=1,arp actions=NORMAL\n"
    )
    learning, discovery, arp = parse_flows(S1, text)
    assert (learning.addresses, learning.ports, learning.priority) == (["10.0.0.0/24", "10.0.1.1"], [9092], 7)
    assert (discovery.ethertype, discovery.to_controller, discovery.priority) == (0x88CC, True, 32768)
    assert arp.ethertype == 0x0806
    assert learning.id == parse_flows(S1, text.replace("duration=3.5s", "duration=9.5s"))[0].id
    assert len({learning.id, discovery.id, arp.id}) == 3


# ── the whole source, over programs that print what was captured ──────────────────────────────


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs first in PATH: each prints the file that is named as its last words are."""
    for program in ("ovs-vsctl", "ovs-ofctl"):
        script = tmp_path / program
        script.write_text(
            f"#!{sys.executable}\n"
            "import sys, pathlib\n"
            "name = '-'.join(word.rpartition('/')[2] for word in sys.argv[-2:])\n"
            f"file = pathlib.Path({str(tmp_path)!r}) / name\n"
            "if not file.exists():\n"
            f"    sys.exit(f'{program}: unix:db.sock: database connection failed (No such file or directory)')\n"
            "sys.stdout.write(file.read_text())\n"
        )
        script.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def table(programs: Path, name: str, rows: list[dict[str, object]]) -> None:
    headings = list(rows[0])
    (programs / f"list-{name}").write_text(json.dumps({"headings": headings, "data": [list(r.values()) for r in rows]}))


def interface(number: int, name: str, **changed: object) -> dict[str, object]:
    captured = json.loads((FIXTURES / "ovs/interface.json").read_text())["data"][0]
    return {
        "_uuid": ["uuid", f"i{number}-{name}"],
        "name": name,
        "ofport": number,
        "link_state": "up",
        "admin_state": "up",
        "link_speed": captured[4],
        "type": "",
        "options": ["map", []],
        "external_ids": ["map", []],
        "statistics": captured[6],
        **changed,
    }


@pytest.fixture
def two_bridges(programs: Path) -> Path:
    """fs1 with ports 1 and 11, fs2 with port 11, which is a patch to fs1."""
    wires = [
        interface(1, "fv1", external_ids=["map", [["attached-mac", "02:00:00:00:00:0A"], ["iface-id", "site-1"]]]),
        interface(11, "p12", type="patch", options=["map", [["peer", "p21"]]], link_speed=["set", []]),
        interface(11, "p21", type="patch", options=["map", [["peer", "p12"]]], link_speed=["set", []]),
    ]
    ports = [{"_uuid": ["uuid", f"port-{w['name']}"], "interfaces": w["_uuid"]} for w in wires]
    bridges = [
        {"name": "fs1", "datapath_id": f"{1:016x}", "datapath_type": "netdev", "ports": ["set", [p["_uuid"] for p in ports[:2]]]},
        {"name": "fs2", "datapath_id": f"{2:016x}", "datapath_type": "netdev", "ports": ports[2]["_uuid"]},
    ]  # fmt: skip
    table(programs, "Bridge", bridges)
    table(programs, "Port", ports)
    table(programs, "Interface", wires)
    for bridge in ("fs1", "fs2"):
        (programs / f"dump-ports-{bridge}.mgmt").write_text(PORTS.replace("port  2", "port 11"))
        (programs / f"dump-flows-{bridge}.mgmt").write_text(FLOWS)
    return programs


def test_bridges_patches_hosts_ports_and_flows_are_told(two_bridges: Path) -> None:
    events = poll(OvsSource(OvsConfig(name="ovs")))
    seen = topology(events)
    assert [(device["id"], device["name"], device["up"]) for device in seen.devices] == [
        (S1, "fs1", True),
        (S2, "fs2", True),
    ]
    assert [link["id"] for link in seen.links] == [f"{S1}/11-{S2}/11"]
    assert seen.hosts == [
        {"id": "02:00:00:00:00:0a", "mac": "02:00:00:00:00:0a", "device": S1, "port": "1", "name": "site-1"}
    ]
    assert metrics(events, f"{S1}/1")["network.io{direction=receive}"] == 1160
    assert metrics(events, f"{S1}/1")["speed_bps"] == 10e9
    assert "speed_bps" not in metrics(events, f"{S1}/11")
    assert metrics(events, "ovs")["flows"] == 2


def test_the_switchs_own_duration_makes_the_rate(two_bridges: Path) -> None:
    source = OvsSource(OvsConfig(name="ovs"))
    poll(source)
    later = PORTS.replace("bytes=1160", "bytes=1001160").replace("8.903", "12.903")
    (two_bridges / "dump-ports-fs1.mgmt").write_text(later)
    assert metrics(poll(source), f"{S1}/1")["rx_bps"] == pytest.approx(2e6)


def test_a_bridge_that_does_not_answer_is_down_and_its_old_counters_are_not_told(two_bridges: Path) -> None:
    source = OvsSource(OvsConfig(name="ovs"))
    poll(source)
    (two_bridges / "dump-ports-fs2.mgmt").unlink()
    events = poll(source)
    assert sorted(logged(events)) == ["device_down", "part_unknown"]
    assert "network.io{direction=receive}" not in metrics(events, f"{S2}/11")


def test_a_remote_database_gives_counters_without_flows(two_bridges: Path) -> None:
    events = poll(OvsSource(OvsConfig(name="ovs", url="tcp:127.0.0.1:6640")))
    assert metrics(events, f"{S1}/1")["network.io{direction=receive}"] == 1048
    assert "flows" not in metrics(events, "ovs")
    assert f"{S2}/11" in nodes(events)


def test_no_database_is_reported_in_its_own_words(programs: Path) -> None:
    with pytest.raises(SourceDown, match=r"ovs-vsctl: .*database connection failed"):
        poll(OvsSource(OvsConfig(name="ovs")))


@pytest.mark.parametrize("text", ["", "{}", "<html>", '{"headings": ["name"], "data": [["a", "b"]]}'])
def test_an_answer_that_is_no_table_is_reported(two_bridges: Path, text: str) -> None:
    (two_bridges / "list-Bridge").write_text(text)
    with pytest.raises(SourceDown, match="list Bridge"):
        poll(OvsSource(OvsConfig(name="ovs")))


def test_a_program_that_is_not_installed_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceDown, match=r"ovs-vsctl: .*openvswitch-switch"):
        poll(OvsSource(OvsConfig(name="ovs")))


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    with pytest.raises(SourceDown, match="no answer within 1 s"):
        asyncio.run(ovs.run((sys.executable, "-c", script), 1.0))
    if pid_file.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid_file.read_text()), 0)


def test_an_endless_answer_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ovs, "MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(SourceDown, match="longer than 1 MiB"):
        asyncio.run(ovs.run((sys.executable, "-c", "while True: print('x' * 1000)"), 20.0))


def test_nothing_goes_through_a_shell(tmp_path: Path) -> None:
    config = OvsConfig(name="ovs", url=f"unix:$(touch {tmp_path}/made);touch {tmp_path}/made")
    with pytest.raises(SourceDown):
        poll(OvsSource(config))
    assert not (tmp_path / "made").exists()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="url: 'http://x'"):
        OvsConfig(name="ovs", url="http://x")
