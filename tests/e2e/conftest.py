"""A browser, and a demo for it to look at."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
# A long run at six times the speed: its story is told within half a minute,
# and there is time left for everything that is done to the page meanwhile.
OPTIONS = ["--clients", "8", "--rounds", "160", "--speed", "6"]


class LiveDemo:
    """A running `fedsight demo`: its run page's address, and its collector, to be killed and started again."""

    def __init__(self, runs):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from fedsight.cli import main; main()", "demo", *OPTIONS, "--runs-dir", str(runs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.run_url = self._read_address("This run:")
        self.url = self.run_url.partition("/runs/")[0]
        self._second_collector = None

    def _read_address(self, label):
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith(label):
                return line.split()[-1]
        raise AssertionError("the demo ended before it said where its run is:\n" + "".join(lines))

    def _collector(self):
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "serve" in child.cmdline():
                    return child
        raise AssertionError("the demo has no collector")

    def kill_collector(self):
        """Kill it as a power cut would; returns what it takes to start it again."""
        collector = self._collector()
        command, env = collector.cmdline(), collector.environ()
        collector.kill()
        deadline = time.monotonic() + 10
        # Its parent, the demo, does not look after it before its own end: until then it is a zombie.
        while collector.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return command, env

    def restart_collector(self, command, env):
        self._second_collector = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=60)
        finally:
            if self._second_collector is not None:
                self._second_collector.terminate()
                self._second_collector.wait(30)
            self.process.kill()
            self.process.wait()


# Of a module: as long as it is there, its event loop runs in this thread, and asyncio.run() can't.
@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        why = "needs Debian's Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        # Inside a container there is no user namespace for Chromium's own sandbox, and root may not go without asking.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo(browser, tmp_path_factory):
    demo = LiveDemo(tmp_path_factory.mktemp("e2e") / "runs")
    yield demo
    demo.stop()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    yield page
    context.close()
    assert page.faults == []
