"""`fedsight monitor`, run as a user runs it, around real programs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.harness import Collector, until
from fedsight.events import JournalHeader, Log, Sample
from fedsight.testing import read_events

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="drives signals and terminals")

CLI = [sys.executable, "-c", "from fedsight.cli import main; main()", "monitor"]
PYTHON = sys.executable
BURN = "import time\nwhile time.process_time() < {sec}: pass\n"


def environment(**more: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("FEDSIGHT_")}, **more}


def monitor(
    *arguments: str, cwd: Path, stdin: str | None = None, cli: list[str] = CLI
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*cli, *arguments],
        cwd=cwd, env=environment(), input=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def cost_of(*arguments: str, cwd: Path) -> dict[str, Any]:
    shown = monitor("--json=cost.json", *arguments, cwd=cwd)
    assert (cwd / "cost.json").exists(), shown.stderr
    found: dict[str, Any] = json.loads((cwd / "cost.json").read_bytes())
    return found


@contextlib.contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A monitored program, in a process group of its own, that has printed its first line."""
    process = subprocess.Popen(
        [*CLI, *arguments],
        cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)


# ── the program is as it would be without ─────────────────────────────────────────────────────


def test_input_output_and_exit_status_are_the_programs_and_the_report_goes_to_stderr(tmp_path: Path) -> None:
    shown = monitor("--", "sh", "-c", "cat; exit 3", cwd=tmp_path, stdin="a line\n")
    assert (shown.returncode, shown.stdout) == (3, "a line\n")
    assert "exit status  3 after" in shown.stderr


def test_options_behind_the_program_are_the_programs_with_and_without_two_dashes(tmp_path: Path) -> None:
    for words in (("echo", "--json", "--", "--pid"), ("--", "echo", "--json", "--", "--pid")):
        assert monitor(*words, cwd=tmp_path).stdout == "--json -- --pid\n"


def test_a_program_that_is_killed_ends_as_shells_say_it(tmp_path: Path) -> None:
    shown = monitor("--", "sh", "-c", "kill -9 $$", cwd=tmp_path)
    assert shown.returncode == 128 + signal.SIGKILL
    assert "by SIGKILL after" in shown.stderr


def test_a_program_that_is_not_there_or_can_not_be_run_is_answered_as_shells_do(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("no program")
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    for program, status, says in (
        ("no-such-program", 127, "no-such-program: there is no such program"),
        ("./plain.txt", 126, "not executable"),
        (str(tmp_path), 126, "is a folder"),
        ("./script", 127, "its interpreter is not there"),
    ):
        shown = monitor("--", program, cwd=tmp_path)
        assert (shown.returncode, says in shown.stderr) == (status, True), shown.stderr
        assert "Traceback" not in shown.stderr
        assert len(shown.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_program_finds_signals_and_descriptors_as_it_would_without(tmp_path: Path) -> None:
    for look in (["grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status"], ["ls", "/proc/self/fd"]):
        plain = subprocess.run(look, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        assert monitor("--", *look, cwd=tmp_path, stdin="").stdout == plain.stdout


# ── signals ───────────────────────────────────────────────────────────────────────────────────

COUNTS = """
import signal, sys, time
got = []
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"):
    signal.signal(getattr(signal, name), lambda number, _: got.append(signal.Signals(number).name))
print("ready", flush=True)
end = time.monotonic() + 20
while time.monotonic() < end and not ({last!r} in got):
    time.sleep(0.01)
print(",".join(sorted(set(got))), len(got))
"""


def test_signals_are_passed_on_to_the_program(tmp_path: Path) -> None:
    with started("--", PYTHON, "-c", COUNTS.format(last="SIGUSR2"), cwd=tmp_path) as process:
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGWINCH", "SIGUSR2"):
            process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=30)
    assert out == "SIGHUP,SIGINT,SIGQUIT,SIGTERM,SIGUSR1,SIGUSR2,SIGWINCH 7\n"
    assert process.returncode == 0
    assert "exit status  0 after" in err


def test_a_program_that_ends_by_a_signal_that_was_passed_on_has_its_status(tmp_path: Path) -> None:
    with started("--", "sh", "-c", "echo ready; exec sleep 30", cwd=tmp_path) as process:
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "by SIGTERM" in err


def test_a_program_that_ignores_sigterm_is_not_left_alone(tmp_path: Path) -> None:
    ignores = "trap '' TERM; echo ready; read line; exit 4"
    read_end, write_end = os.pipe()
    process = subprocess.Popen([*CLI, "--", "sh", "-c", ignores], stdin=read_end, stdout=-1, stderr=-1, text=True)
    os.close(read_end)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    os.write(write_end, b"go on\n")
    os.close(write_end)
    process.communicate(timeout=30)
    assert process.returncode == 4


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="who sent a signal is not told")
def test_ctrl_c_on_a_terminal_reaches_the_program_once(tmp_path: Path) -> None:
    program = """
import signal, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", flush=True)
while not got: time.sleep(0.01)
time.sleep(0.3)
print("interrupts:", len(got))
"""
    shown = on_a_terminal([*CLI, "--", PYTHON, "-c", program], cwd=tmp_path, types_after={"ready": b"\x03"})
    assert "interrupts: 1" in shown
    assert "exit status" in shown


def test_a_stopped_program_stops_its_monitor_and_both_go_on(tmp_path: Path) -> None:
    with started("--", "sh", "-c", "echo ready; sleep 0.2; echo over", cwd=tmp_path) as process:
        process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.killpg(process.pid, signal.SIGCONT)  # as a shell's `fg` does
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "over\n")


# ── systems that tell less ────────────────────────────────────────────────────────────────────

LIKE_MACOS = (
    "import os, signal; del os.waitid, os.pidfd_open, signal.sigwaitinfo\nfrom fedsight.cli import main; main()"
)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="takes away what only Linux has")
def test_where_nobody_tells_who_sent_a_signal_and_a_dead_program_is_gone_at_once(tmp_path: Path) -> None:
    cli = [PYTHON, "-c", LIKE_MACOS, "monitor"]
    burn = BURN.format(sec=0.3)
    shown = monitor("--json=cost.json", "--", PYTHON, "-S", "-c", burn + "raise SystemExit(3)", cwd=tmp_path, cli=cli)
    assert shown.returncode == 3
    cost = json.loads((tmp_path / "cost.json").read_bytes())
    assert 0.3 <= cost["cpu_sec"] < 0.4
    process = subprocess.Popen(
        [*cli, "--", PYTHON, "-c", COUNTS.format(last="SIGUSR2")],
        stdout=-1,
        stderr=-1,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert out == "SIGINT,SIGTERM,SIGUSR2 3\n"
    typed = on_a_terminal(
        [*cli, "--", PYTHON, "-c", COUNTS.format(last="SIGINT")], cwd=tmp_path, types_after={"ready": b"\x03"}
    )
    assert "SIGINT 1\n" in typed


# ── what it has cost ──────────────────────────────────────────────────────────────────────────

TRUTH = """
import json, os, resource, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        while sum(os.times()[:2]) < 0.15: pass
        os._exit(0)
for _ in range(int(sys.argv[1])):
    os.wait()
while sum(os.times()[:2]) < float(sys.argv[2]): pass
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
json.dump(sum(each.ru_utime + each.ru_stime for each in used), open("truth.json", "w"))
os._exit(0)
"""


@pytest.mark.parametrize(("num_children", "own_sec"), [(0, 0.3), (3, 0.01), (2, 0.2)])
def test_cpu_time_is_the_kernels_within_two_percent(tmp_path: Path, num_children: int, own_sec: float) -> None:
    program = [PYTHON, "-S", "-c", TRUTH, str(num_children), str(own_sec)]
    cost = cost_of("--interval", "0.1", "--", *program, cwd=tmp_path)
    true_sec = json.loads((tmp_path / "truth.json").read_bytes())
    assert cost["cpu_sec"] == pytest.approx(true_sec, rel=0.02)
    assert cost["cpu_cores"] == pytest.approx(cost["cpu_sec"] / cost["duration_sec"])
    # The readings' own sum: what ended children have used is told in ticks of 10 ms.
    assert cost["summary"]["total_cpu_sec"] == pytest.approx(true_sec, rel=0.02, abs=0.02 if num_children else 0)


@pytest.mark.skipif(sys.platform != "linux", reason="descendants that nobody waits for are followed on Linux")
def test_children_that_nobody_waits_for_are_counted(tmp_path: Path) -> None:
    orphan = f"({PYTHON} -S -c '{BURN.format(sec=0.3)}'; touch done) & sleep 0.2"
    # Its parent ends before it, and the program waits for neither.
    program = ["sh", "-c", 'sh -c "$0"; while [ ! -e done ]; do sleep 0.05; done', orphan]
    assert cost_of("--interval", "0.05", "--", *program, cwd=tmp_path)["cpu_sec"] > 0.25


def test_memory_that_came_and_went_between_two_readings_is_in_the_peak(tmp_path: Path) -> None:
    cost = cost_of("--interval", "60", "--", PYTHON, "-c", "x = bytes(b'1') * 90_000_000; del x", cwd=tmp_path)
    assert cost["is_peak_exact"]
    assert 90e6 < cost["memory_peak_bytes"] < 150e6


@pytest.mark.alone  # measuring coverage makes what starts it larger while it does
def test_a_program_that_is_over_at_once_is_told_no_memory_of_what_started_it(tmp_path: Path) -> None:
    cost = cost_of("--", "true", cwd=tmp_path)
    assert cost.get("memory_peak_bytes", 0) < 8e6
    assert (cost["summary"]["avg_memory_rss_bytes"] or 0) < 8e6


@pytest.mark.alone
def test_a_small_programs_memory_is_not_the_monitors(tmp_path: Path) -> None:
    cost = cost_of("--interval", "0.05", "--", "sleep", "0.3", cwd=tmp_path)
    assert 0 < cost["memory_peak_bytes"] < 8e6
    assert 0 < cost["memory_mean_bytes"] < 8e6


def test_curves_show_when_it_was(tmp_path: Path) -> None:
    program = f"import time\ntime.sleep(0.5)\n{BURN.format(sec=0.4)}"
    cpu = cost_of("--interval", "0.05", "--", PYTHON, "-S", "-c", program, cwd=tmp_path)["curves"]["cpu_cores"]
    assert len(cpu) == 100
    quiet = [at for at, cores in enumerate(cpu) if cores is not None and cores < 0.02]
    assert quiet
    assert max(cores for cores in cpu[quiet[0] :] if cores is not None) > 0.2  # busy after that


# ── outputs ───────────────────────────────────────────────────────────────────────────────────


def test_json_to_standard_output_stands_behind_the_programs_own_and_instead_of_the_report(tmp_path: Path) -> None:
    shown = monitor("--json", "--", "sh", "-c", "echo mine; exit 5", cwd=tmp_path)
    mine, _, document = shown.stdout.partition("\n")
    cost = json.loads(document)
    assert mine == "mine"
    assert (cost["exit_status"], cost["command"], cost["has_ended"]) == (5, ["sh", "-c", "echo mine; exit 5"], True)
    assert shown.stderr == ""


def test_the_readings_can_be_kept_as_a_journal_that_says_how_it_ended(tmp_path: Path) -> None:
    shown = monitor("-o", "kept.jsonl", "-i", "0.05", "--name", "bench-7", "--", "sleep", "0.3", cwd=tmp_path)
    assert "journal      " in shown.stderr
    events = read_events(tmp_path / "kept.jsonl")
    assert isinstance(events[0], JournalHeader)
    assert events[0].role == "monitor"
    samples = [each for each in events if isinstance(each, Sample)]
    assert len(samples) >= 3
    assert {each.node for each in samples} == {"bench-7"}
    end = events[-1]
    assert isinstance(end, Log)
    assert (end.component, end.event) == ("command", "ended")
    assert end.extra is not None
    assert end.extra["exit_code"] == 0
    assert "sleep 0.3" not in repr(events)  # arguments may hold secrets


def test_further_probes_are_read(tmp_path: Path) -> None:
    last = cost_of("--probe", "descriptors", "-i", "0.05", "--", "sleep", "0.2", cwd=tmp_path)["last"]
    without = cost_of("-i", "0.05", "--", "sleep", "0.2", cwd=tmp_path)["last"]
    assert any("file_descriptor" in name for name in last)
    assert not any("file_descriptor" in name for name in without)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    subprocess.run([*CLI, "true"], cwd=tmp_path, env=environment(TMPDIR=str(tmp_path / "tmp")), check=True)
    assert [each.name for each in tmp_path.iterdir()] == ["tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_piped_the_report_is_plain_ascii_in_80_columns(tmp_path: Path) -> None:
    shown = monitor("-i", "0.05", "--", PYTHON, "-c", BURN.format(sec=0.3), cwd=tmp_path).stderr
    assert shown.isascii()
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "max" in shown


def test_on_a_terminal_curves_are_drawn_with_blocks_and_fit_its_width(tmp_path: Path) -> None:
    command = [*CLI, "-i", "0.05", "--", PYTHON, "-c", BURN.format(sec=0.3)]
    shown = on_a_terminal(command, cwd=tmp_path, columns=100)
    assert "█" in shown
    assert "\x1b[1m" in shown
    plain = on_a_terminal(command, cwd=tmp_path, columns=100, NO_COLOR="1")
    assert "\x1b" not in plain
    assert 90 <= max(map(len, plain.splitlines())) <= 100


def test_a_collector_gets_the_readings_and_the_end(tmp_path: Path) -> None:
    with Collector(tmp_path / "collector") as collector:
        token = collector.token("producer")
        shown = monitor(
            "--collector", collector.url, "--token", token, "-i", "0.05", "--", "sleep", "0.3", cwd=tmp_path
        )
        assert shown.returncode == 0
        (journal,) = (tmp_path / "runs").glob("*.monitor.jsonl")
        copies = {path.read_bytes() for path in (collector.data / "journals").rglob("*.jsonl")}
        assert journal.read_bytes() in copies
        assert b'"ended"' in journal.read_bytes()


def test_a_collector_that_is_away_costs_neither_status_nor_readings(tmp_path: Path) -> None:
    shown = monitor("--collector", "http://127.0.0.1:9", "--", "sh", "-c", "exit 6", cwd=tmp_path)
    assert shown.returncode == 6
    assert "fedsight sync" in shown.stderr
    assert list((tmp_path / "runs").glob("*.monitor.jsonl"))


# ── a process that runs already ───────────────────────────────────────────────────────────────


def test_a_running_process_is_watched_until_it_ends(tmp_path: Path) -> None:
    # It ends when it has been seen: by its journal, not by a time that a busy machine may overrun.
    burn = "import os, time\nwhile not os.path.exists('kept.jsonl') or b'interval_sec' not in open('kept.jsonl', 'rb').read(): sum(range(10_000))"
    burning = subprocess.Popen([PYTHON, "-S", "-c", burn], cwd=tmp_path)
    try:
        shown = monitor("--json", "-i", "0.1", "-o", "kept.jsonl", "--pid", str(burning.pid), cwd=tmp_path)
    finally:
        burning.wait(20)
    cost = json.loads(shown.stdout)
    assert shown.returncode == 0
    assert cost["has_ended"]
    assert cost["cpu_cores"] > 0.1
    assert cost["command"][0] == PYTHON


def test_the_shell_that_it_is_called_from_is_measured_without_it(tmp_path: Path) -> None:
    source = """
        "$@" --json=cost.json --output=kept.jsonl -i 0.1 --pid $$ &
        until grep -q interval_sec kept.jsonl; do sleep 0.1; done 2>/dev/null
        kill -INT $!; kill -TERM $!; wait $!
    """
    subprocess.run(["bash", "-c", source, "bash", *CLI], cwd=tmp_path, env=environment(), timeout=60, check=False)
    readings = [each for each in read_events(tmp_path / "kept.jsonl") if isinstance(each, Sample)]
    assert readings
    assert min(sample.metrics["fedsight.process.count"] for sample in readings) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_watch_and_not_the_process(tmp_path: Path, number: int) -> None:
    sleeping = subprocess.Popen(["sleep", "30"])
    watch = subprocess.Popen(
        [*CLI, "-o", "kept.jsonl", "-i", "0.05", "--pid", str(sleeping.pid)], cwd=tmp_path, stderr=-1, text=True
    )
    try:
        kept = tmp_path / "kept.jsonl"
        until(lambda: kept.exists() and kept.read_bytes().count(b'"sample"') > 2, "it is being watched")
        watch.send_signal(number)
        _, err = watch.communicate(timeout=20)
        assert watch.returncode == 0
        assert "still running" in err
        assert sleeping.poll() is None
    finally:
        sleeping.kill()
        sleeping.wait()


# ── what can't be meant ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--interval", "0"), "interval must be"),
        (("--interval", "-1"), "interval must be"),
        (("--interval", "nan"), "interval must be"),
        (("--probe", "flux"), "There is no probe 'flux'"),
        (("--output", "kept.txt"), "ends in .jsonl"),
        (("--output", "/dev/null/kept.jsonl"), "can't be written"),
    ],
)
def test_what_can_not_be_meant_is_said_before_the_program_begins(
    tmp_path: Path, options: tuple[str, str], says: str
) -> None:
    shown = monitor(*options, "--", "touch", "begun", cwd=tmp_path)
    assert shown.returncode == 125
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize(
    "arguments", [(), ("--pid", "1", "--", "true"), ("--pid", "x"), ("--interval", "often", "true")]
)
def test_a_command_line_that_makes_no_sense_gets_the_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    shown = monitor(*arguments, cwd=tmp_path)
    assert shown.returncode == 2
    assert "usage: fedsight monitor" in shown.stderr


@pytest.mark.parametrize("pid", ["0", "-5", "4194303"])
def test_a_pid_that_is_nobodys_is_one_line(tmp_path: Path, pid: str) -> None:
    shown = monitor(f"--pid={pid}", cwd=tmp_path)
    assert shown.returncode == 1
    assert shown.stderr.startswith("fedsight: pid")
    assert len(shown.stderr.splitlines()) == 1


def test_it_needs_the_recorder_alone(tmp_path: Path) -> None:
    bare = "import sys; sys.modules.update(dict.fromkeys(('typer', 'rich', 'duckdb', 'litestar')))\n"
    cli = [PYTHON, "-c", bare + "from fedsight.cli import main; main()", "monitor"]
    assert monitor("--", "sh", "-c", "exit 3", cwd=tmp_path, cli=cli).returncode == 3
    assert "--interval" in monitor("--help", cwd=tmp_path, cli=cli).stdout


def on_a_terminal(
    command: list[str], *, cwd: Path, columns: int = 80, types_after: dict[str, bytes] | None = None, **environ: str
) -> str:
    """What a command shows on a terminal of its own, where `types_after` is typed when its key is seen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(
            command[0], command, environment(TERM="xterm", COLUMNS=str(columns), PYTHONIOENCODING="utf-8", **environ)
        )
    shown = b""
    to_type = dict(types_after or {})
    try:
        while select.select([terminal], [], [], 30)[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:  # its end, as Linux tells it
                break
            if not data:
                break
            shown += data
            for seen in [each for each in to_type if each.encode() in shown]:
                os.write(terminal, to_type.pop(seen))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return shown.decode().replace("\r\n", "\n")
