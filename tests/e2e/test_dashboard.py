"""The real dashboard in a real browser, while a real federation trains."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WAIT_MS = 60_000


def chart(page, title):
    return page.locator("figure").filter(has=page.get_by_role("heading", name=title, exact=True))


def round_on(page):
    """The newest round that the accuracy chart names."""
    label = chart(page, "Accuracy").locator(".round")
    expect(label).to_be_visible(timeout=WAIT_MS)
    return int(re.search(r"\d+", label.inner_text()).group())


def wait_for_round(page, at_least):
    page.wait_for_function(
        """least => [...document.querySelectorAll('figure')].some(figure =>
            figure.querySelector('h3')?.textContent === 'Accuracy'
            && Number(figure.querySelector('.round')?.textContent.match(/\\d+/)) >= least)""",
        arg=at_least,
        timeout=WAIT_MS,
    )


def painted_pixels(page, title):
    """How many pixels of a chart's canvas hold ink."""
    return (
        chart(page, title)
        .locator("canvas")
        .evaluate(
            """canvas => {
            const rgba = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let ink = 0;
            for (let i = 3; i < rgba.length; i += 4) if (rgba[i] > 0) ink++;
            return ink;
        }"""
        )
    )


def scrolls_sideways(page):
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_the_run_grows_before_ones_eyes(demo, page):
    page.goto(demo.run_url)
    page.evaluate("window.sameDocument = true")
    first = round_on(page)
    wait_for_round(page, first + 3)
    assert page.evaluate("window.sameDocument") is True
    assert painted_pixels(page, "Accuracy") > 500


def test_who_drops_out_and_who_fails_is_told(demo, page):
    page.goto(demo.run_url)
    events = page.get_by_role("region", name="Events, newest first")
    expect(events.get_by_text(re.compile("maintenance window")).first).to_be_visible(timeout=2 * WAIT_MS)
    expect(events.get_by_text(re.compile("timed out|reset|connection closed")).first).to_be_visible(timeout=WAIT_MS)


def test_the_page_gets_over_a_collector_that_was_killed(demo, page):
    page.goto(demo.run_url)
    before = round_on(page)
    page.evaluate("window.sameDocument = true")
    how = demo.kill_collector()
    lost = page.get_by_text("Lost the collector")
    expect(lost).to_be_visible(timeout=WAIT_MS)
    demo.restart_collector(*how)
    expect(lost).to_be_hidden(timeout=WAIT_MS)
    wait_for_round(page, before + 2)
    assert page.evaluate("window.sameDocument") is True


def test_the_runs_page_leads_to_the_run(demo, page):
    page.goto(demo.url)
    run_id = demo.run_url.rpartition("/")[2]
    page.get_by_role("link", name=run_id).click()
    expect(page.get_by_role("heading", level=1, name=run_id)).to_be_visible(timeout=WAIT_MS)


def test_light_and_dark_differ_and_the_choice_stays(demo, page):
    page.goto(demo.run_url)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch to the dark theme").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Switch to the light theme")).to_be_visible(timeout=WAIT_MS)
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways(demo, page, width):
    page.set_viewport_size({"width": width, "height": 844})
    for address in (demo.url, demo.run_url):
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=WAIT_MS)
        page.wait_for_load_state("load")
        assert not scrolls_sideways(page), address
    page.get_by_role("region", name="Clients").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Local accuracy")).to_be_visible(timeout=WAIT_MS)
    assert not scrolls_sideways(page)


def test_the_keyboard_alone_leads_to_a_client(demo, page):
    page.goto(demo.run_url)
    table = page.get_by_role("region", name="Clients")
    expect(table.get_by_role("link")).not_to_have_count(0, timeout=WAIT_MS)
    client = table.get_by_role("link").first.inner_text()
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement?.textContent") == client:
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name=client)).to_be_visible(timeout=WAIT_MS)


def test_nothing_is_fetched_from_anywhere_else(demo, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(demo.run_url)
    round_on(page)
    foreign = [url for url in asked if not url.startswith((demo.url, "data:", "blob:"))]
    assert asked
    assert foreign == []
