"""A Flower federation of real processes: a SuperLink, SuperNodes, `flwr run`."""

import contextlib
import os
import signal
import socket
import subprocess
import time

from environments import python_of

LIMIT_SEC = 240
"""Flower itself takes a minute to notice that a node is gone."""

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}


class Federation:
    """Its processes, each in a session of its own, so that it ends with all that it started; all end with the `with` block."""

    def __init__(self, folder, environment="flower"):
        self.folder = folder
        self.bin = python_of(environment).parent
        self.port = free_port()
        self.processes = {}
        home = folder / "home"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "ours"\n[superlink.ours]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        )
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | QUIET | {"FLWR_HOME": str(home), "PATH": path}

    def superlink(self, *options):
        where = ("--host", "127.0.0.1", "--port", str(self.port))
        self.start("superlink", "--insecure", "--disable-runtime-dependency-installation", *where, *options)
        self.until(lambda: answers(self.port), "the SuperLink listens")

    def supernode(self, name, config):
        where = ("--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port()))
        self.start("supernode", "--insecure", *where, "--node-config", config, name=name)

    def run(self, app, config, *options):
        command = [self.bin / "flwr", "run", app, "ours", "--run-config", config, *options]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=self.environment, cwd=self.folder
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, program, *options, name=None):
        command = [self.bin / f"flower-{program}", *options]
        with (self.folder / f"{name or program}.log").open("w") as log:
            self.processes[name or program] = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment, cwd=self.folder, start_new_session=True
            )

    def kill(self, name):
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def until(self, condition, what):
        deadline = time.monotonic() + LIMIT_SEC
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {LIMIT_SEC} s\n{self.said()}"
            time.sleep(0.2)

    def said(self):
        return "\n".join(f"── {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for name in list(self.processes):
            self.kill(name)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
