"""A run whose training waits for clients, in a real browser: it says so, and stops saying so when it goes on."""

import pytest
from playwright.sync_api import expect

from collector.harness import Process
from fedsight.integrations.flower.guard import Guard
from fedsight.integrations.flower.replies import Reply
from fedsight.integrations.flower.rounds import Rounds
from fedsight.testing import recorded

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WAIT_MS = 30_000


def test_a_run_that_waits_is_shown_so_until_it_goes_on(page, tmp_path):
    with recorded(run_id="ward") as run:
        rounds = Rounds(run, Guard(), weight_key="n", num_wanted=lambda phase: 3, waiting_after_sec=0.5)
        rounds.num_available = lambda: 2
        rounds.configure("train", 1)
        view = Process("view", str(run.path.parent), "--port", "0", cwd=tmp_path)
        try:
            page.goto(f"{view.url}/runs/ward")
            header = page.locator("header").filter(has=page.get_by_role("heading", name="ward"))
            expect(header).to_contain_text("2 connected, it wants at least 3", timeout=WAIT_MS)
            expect(header.locator(".badge")).to_have_text("waiting")
            rounds.send({"1": 100})
            rounds.reply(Reply("1"))
            rounds.aggregate()
            expect(header.locator(".badge")).to_have_text("running", timeout=WAIT_MS)
            expect(header).not_to_contain_text("Waiting.")
        finally:
            view.stop()
        rounds.end(is_failed=False)
