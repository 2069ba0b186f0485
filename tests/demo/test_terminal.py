import io

from rich.console import Console

from fedsight.demo.model import Quality
from fedsight.demo.server import RoundReport
from fedsight.demo.terminal import Terminal

REPORT = RoundReport(
    round=7,
    selected=["oslo", "lima", "cairo"],
    arrived=["oslo", "lima"],
    late=["lima"],
    failed=["cairo"],
    returned=["perth"],
    quality=Quality(0.81234, 0.5, 0.8),
)


def show(*, force_terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=force_terminal, width=120, color_system=None)
    with Terminal(console, "http://127.0.0.1:8083/runs/x", 30) as terminal:
        terminal.waiting(2, 3)
        terminal.waiting(3, 3)
        terminal.round_done(REPORT)
    return out.getvalue()


def test_without_a_terminal_a_round_is_one_line():
    assert show(force_terminal=False).splitlines() == [
        "3 of 3 clients are connected",
        "round   7/30  accuracy 0.812  loss 0.500  updates 2/3  late: lima  failed: cairo  back: perth",
    ]


def test_a_terminal_shows_the_address_the_progress_and_who_is_in_trouble():
    text = show(force_terminal=True)
    for part in ("http://127.0.0.1:8083/runs/x", "2 of 3 clients", "round 7 of 30", "0.812", "failed: cairo"):
        assert part in text
    heading = next(line for line in text.splitlines() if "accuracy" in line)
    assert heading.split() == ["round", "accuracy", "loss", "updates", "who"]


def test_a_round_nobody_evaluated_says_so():
    out = io.StringIO()
    with Terminal(Console(file=out), "", 3) as terminal:
        terminal.round_done(RoundReport(round=1))
    assert "not evaluated" in out.getvalue()
