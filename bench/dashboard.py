"""(e) The dashboard: compressed bytes over the wire, and the time until the first chart is drawn.

A run of 200 rounds x 100 clients behind `fedsight view`, opened in Debian's headless Chromium with a cold cache.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

import fedsight

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "emitters"))

from collector_process import free_port, wait_until  # noqa: E402

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]


def record(folder: Path, rounds: int = 200, clients: int = 100) -> None:
    with fedsight.Run("bench", runs_dir=folder, verbose=False) as run:
        for number in range(rounds):
            run.round_start(number)
            for client in range(clients):
                accuracy = 1 - math.exp(-(number + 1) / 40) - client / 1000
                run.log_client_update(
                    f"c{client:03d}", number, local_accuracy=accuracy, bytes_sent=1000, cpu_pct=client
                )
            run.log_round(number, global_accuracy=1 - math.exp(-(number + 1) / 40), global_loss=1 / (number + 1))


def open_page(browser: Browser, url: str) -> dict[str, Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    sizes: dict[str, float] = {}
    urls: dict[str, str] = {}
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.responseReceived", lambda e: urls.__setitem__(e["requestId"], e["response"]["url"]))
    session.on("Network.loadingFinished", lambda e: sizes.__setitem__(e["requestId"], e["encodedDataLength"]))
    page.goto(url, wait_until="commit")
    wait_until(lambda: page.evaluate("performance.getEntriesByName('first-chart').length > 0"), 30)
    first_chart = page.evaluate("performance.getEntriesByName('first-chart')[0].startTime")
    arrived = dict(sizes)  # the live stream ends with the page, and is no part of loading it
    context.close()
    data = sum(size for request, size in arrived.items() if "/api/" in urls.get(request, ""))
    return {
        "first_chart_ms": first_chart,
        "assets_kb": (sum(arrived.values()) - data) / 1000,
        "data_kb": data / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=HERE, prefix="bench-") as folder:
        record(Path(folder) / "runs")
        port = free_port()
        server = subprocess.Popen(
            [sys.executable, "-m", "fedsight", "view", str(Path(folder) / "runs"), "--port", str(port)],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "XDG_CACHE_HOME": folder},
        )
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
                wait_until(lambda: _is_up(port))
                results = [open_page(browser, f"http://127.0.0.1:{port}/runs/bench") for _ in range(options.repeat)]
                browser.close()
        finally:
            server.terminate()
            server.wait(20)
    medians = {key: statistics.median(result[key] for result in results) for key in results[0]}
    print("| compressed assets kB | data kB | first chart ms (median) | best |\n|---|---|---|---|")
    best = min(result["first_chart_ms"] for result in results)
    print(f"| {medians['assets_kb']:.1f} | {medians['data_kb']:.1f} | {medians['first_chart_ms']:.0f} | {best:.0f} |")
    if options.json:
        options.json.write_text(json.dumps({**medians, "best_first_chart_ms": best}, indent=1))


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/runs/bench") as answer:
            return bool(json.load(answer)["run"]["num_rounds"] == 200)
    except OSError:
        return False  # not yet


if __name__ == "__main__":
    main()
