"""The watchdog of the Flower bridge: when it says that a training waits, and that it goes on."""

import threading

import pytest

from fedsight.integrations.flower.watchdog import Watchdog


class Said:
    """What a watchdog said, and a way to wait for the next word."""

    def __init__(self):
        self.words = []
        self.news = threading.Condition()

    def __call__(self, event, message, level, waiting_sec):
        with self.news:
            self.words.append((event, message, level, waiting_sec))
            self.news.notify_all()

    def until(self, event):
        with self.news:
            assert self.news.wait_for(lambda: event in self.events(), timeout=20)

    def events(self):
        return [word[0] for word in self.words]


@pytest.fixture
def said():
    return Said()


@pytest.fixture
def watchdog(said):
    watchdog = Watchdog(0.05, said, threading.RLock())
    yield watchdog
    watchdog.stop()


def test_it_says_for_what_a_training_waits_and_how_long(watchdog, said):
    watchdog.expect(lambda: "for two clients", "warning")
    said.until("waiting")
    event, message, level, waiting_sec = said.words[0]
    assert (event, message, level) == ("waiting", "for two clients", "warning")
    assert waiting_sec >= 0.05


def test_it_says_that_it_goes_on_only_if_it_had_said_that_it_waits(watchdog, said):
    watchdog.expect(lambda: "for replies", "info")
    watchdog.progress()
    watchdog.idle()
    assert said.events() == []
    watchdog.expect(lambda: "for replies", "info")
    said.until("waiting")
    watchdog.progress()
    assert said.events()[-1] == "going_on"


def test_another_expectation_ends_the_waiting_for_the_first(watchdog, said):
    watchdog.expect(lambda: "for clients", "warning")
    said.until("waiting")
    watchdog.expect(lambda: "for replies", "info")
    assert said.events()[-1] == "going_on"


def test_it_says_the_same_again_at_ever_longer_intervals(watchdog, said):
    watchdog.expect(lambda: "for clients", "warning")
    with said.news:
        assert said.news.wait_for(lambda: len(said.words) >= 3, timeout=20)
    first, second, third = (word[3] for word in said.words[:3])
    assert second >= 2 * first
    assert third >= 2 * second


def test_a_pause_that_is_usual_is_no_news(watchdog, said):
    watchdog.expect(lambda: "for replies", "info", learns=True)
    said.until("waiting")
    watchdog.progress()
    first = said.words[0][3]
    watchdog.expect(lambda: "for replies", "info", learns=True)
    with said.news:
        assert said.news.wait_for(lambda: said.events().count("waiting") == 2, timeout=20)
    assert said.words[-1][3] >= 2 * first
