from pathlib import Path

import msgspec
from journal_batches import batches_of

import fedsight
from fedsight.emitters.wandb_alerts import Alerts


def recorded(folder: Path, **options: str) -> fedsight.Run:
    return fedsight.Run("run", runs_dir=folder, verbose=False, **options)  # type: ignore[arg-type]


def told(path: Path, lines_each: int, restarts: bool = False) -> list[tuple[str, int | None, list[str]]]:
    """What is told of a journal, with the state kept over a restart after each batch where asked."""
    alerts, found = Alerts(), []
    for batch in batches_of(path, lines_each):
        alerts, ready = alerts.after(batch)
        found += [(each.kind, each.round, each.clients) for each in ready]
        if restarts:
            alerts = msgspec.json.decode(msgspec.json.encode(alerts), type=Alerts)
    return found


def test_however_the_lines_come_a_round_tells_once_and_names_all(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        for number in range(2):
            run.round_start(number)
            run.log_dropout(number, "a")
            run.log_comm_failure(number, "x")
            run.log_dropout(number, "b", "battery")
            run.log_dropout(number, "a")
            run.log_round(number)
    expected = [
        ("comm_failure", 0, ["x"]),
        ("comm_failure", 1, ["x"]),
        ("dropout", 0, ["a", "b (battery)"]),
        ("dropout", 1, ["a", "b (battery)"]),
    ]
    for lines_each in (1, 2, 1000):
        assert sorted(told(run.path, lines_each)) == expected
        assert sorted(told(run.path, lines_each, restarts=True)) == expected


def test_the_next_rounds_start_ends_the_wait_for_a_rounds_end(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_dropout(0, "a")
        run.round_start(1)
        run.log_dropout(0, "comes too late")
    assert told(run.path, 1) == [("dropout", 0, ["a"])]


def test_what_is_heard_of_a_round_only_after_its_end_is_told_at_once(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_round(3)
        run.log_dropout(3, "a")
        run.log_text("the run goes on")
    batches = list(batches_of(run.path, 1))
    state = Alerts()
    for batch in batches[:-2]:  # all but the note and the run's end
        state, ready = state.after(batch)
    assert [each.clients for each in ready] == [["a"]]


def test_a_site_tells_of_itself_at_once(tmp_path: Path) -> None:
    with recorded(tmp_path, client_id="site-1") as site:
        site.log_comm_failure(4, "site-1", "timeout")
        site.log_text("goes on")
    *_, failed, _, _ = batches_of(site.path, 1)
    _, ready = Alerts().after(failed)
    assert [each.text("run") for each in ready] == ["run, round 4: site-1 (timeout)"]
