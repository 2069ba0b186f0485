"""The pages System and Network in a real browser, over a real collector that asks a controller."""

import re

import pytest
from playwright.sync_api import expect

from collector.harness import Collector
from collector.sources.replay import replaying

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WAIT_MS = 30_000
S1, S2 = "of:0000000000000001", "of:0000000000000002"
SPEED_MBPS = 1000


def device(name, number):
    return {"id": number, "available": True, "annotations": {"datapathDescription": name}}


def link(src, dst, state="ACTIVE"):
    return {"src": {"device": src, "port": "1"}, "dst": {"device": dst, "port": "1"}, "state": state}


def port(number):
    return {"element": number, "port": "1", "isEnabled": True, "portSpeed": SPEED_MBPS}


def statistics(received, duration_sec):
    counted = {"port": 1, "bytesReceived": received, "bytesSent": 0, "durationSec": duration_sec}
    return {"statistics": [{"device": number, "ports": [counted]} for number in (S1, S2)]}


@pytest.fixture(scope="module")
def controller():
    with replaying() as replay:
        replay.answer("/onos/v1/devices", {"devices": [device("core", S1), device("edge", S2)]})
        replay.answer("/onos/v1/links", {"links": [link(S1, S2), link(S2, S1)]})
        replay.answer("/onos/v1/hosts", {"hosts": []})
        replay.answer("/onos/v1/devices/ports", {"ports": [port(S1), port(S2)]})
        replay.answer("/onos/v1/statistics/ports", statistics(0, 10))
        replay.answer("/onos/v1/flows", {"flows": []})
        yield replay


@pytest.fixture(scope="module")
def collector(controller, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    sources = [("sdn", "onos", controller.url), ("gone", "onos", "http://127.0.0.1:1")]
    (folder / "fedsight.toml").write_text(
        "".join(
            f'[[source]]\nname = "{name}"\nkind = "{kind}"\nurl = "{url}"\ninterval_sec = 0.5\ntimeout_sec = 0.4\n'
            for name, kind, url in sources
        )
    )
    with Collector(folder) as running:
        yield running


def test_a_network_is_drawn_and_a_link_that_goes_is_told(collector, controller, page):
    page.goto(f"{collector.url}/network")
    drawing = page.get_by_role("group", name=re.compile("2 devices, 1 links, 0 hosts"))
    expect(drawing).to_be_visible(timeout=WAIT_MS)
    expect(drawing.get_by_role("button", name=re.compile("core.*up"))).to_be_visible()
    # 25 MB in a second of the device's own clock: 200 Mbit/s of 1 Gbit/s.
    controller.answer("/onos/v1/statistics/ports", statistics(25_000_000, 11))
    row = page.get_by_role("row").filter(has_text="core/1")
    expect(row).to_contain_text("200 Mbit/s", timeout=WAIT_MS)
    expect(row).to_contain_text("20.0 %")
    controller.answer("/onos/v1/links", {"links": []})
    changes = page.get_by_role("region", name="What changed, newest first")
    expect(changes.get_by_text("link of:1/1-of:2/1 is down")).to_be_visible(timeout=WAIT_MS)
    expect(drawing.locator(".link.down")).to_have_count(1, timeout=WAIT_MS)
    drawing.get_by_role("button", name=re.compile("edge")).click()
    expect(page.get_by_text("Only edge is shown below.")).to_be_visible()
    expect(row).to_be_hidden()


def test_the_system_page_names_the_source_that_is_down_and_why(collector, page):
    page.goto(f"{collector.url}/system")
    sources = page.get_by_role("region", name="Sources")
    down = sources.get_by_role("row").filter(has_text="gone")
    expect(down).to_contain_text("no connection to 127.0.0.1:1", timeout=WAIT_MS)
    expect(down).to_contain_text("down")
    expect(sources.get_by_role("row").filter(has_text="sdn")).to_contain_text("up")
    expect(page.get_by_text("1 of 2 answer")).to_be_visible()
    expect(page.locator("main").get_by_text("degraded").first).to_be_visible(timeout=WAIT_MS)
    page.get_by_text("Configuration in force").click()
    expect(page.get_by_role("row").filter(has_text="max_backlog_mb")).to_contain_text("512", timeout=WAIT_MS)
    page.get_by_text("Requests by route").click()
    expect(page.get_by_role("row").filter(has_text="/api/v1/sources").first).to_be_visible()


@pytest.mark.parametrize("where", ["network", "system"])
def test_a_phone_shows_it_all_without_scrolling_sideways(collector, page, where):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{collector.url}/{where}")
    expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_role("row").nth(1)).to_be_visible(timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
