from pathlib import Path

import pytest
import wandb_files

from fedsight.emitters.wandb_file import RunFile

pytest.importorskip("wandb")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of many blocks, written by W&B's own process."""
    import wandb

    folder = tmp_path_factory.mktemp("wandb")
    run = wandb.init(
        mode="offline", dir=folder, reinit="create_new", settings=wandb.Settings(console="off", silent=True)
    )
    for number in range(20):
        run.log({f"client/site-{client}/loss": client + 0.5 for client in range(400)} | {"number": number})
    run.finish()
    wandb.teardown()
    (file,) = wandb_files.run_files(folder)
    assert file.stat().st_size > 10 * 32768
    return file


def test_rows_are_read_over_the_ends_of_blocks(written: Path) -> None:
    rows = list(RunFile(written).rows())
    assert rows == wandb_files.history(written)
    assert [row["number"] for row in rows] == list(range(20))


@pytest.mark.parametrize("step", [997, 32768, 100_003])
def test_a_growing_file_is_read_on(written: Path, tmp_path: Path, step: int) -> None:
    data, growing = written.read_bytes(), tmp_path / "run.wandb"
    reader, rows = RunFile(growing), []
    for end in [*range(0, len(data), step), len(data)]:
        growing.write_bytes(data[:end])
        rows += list(reader.rows())
    assert [row["number"] for row in rows] == list(range(20))


def test_a_row_that_is_there_is_waited_for_no_longer(written: Path) -> None:
    assert RunFile(written).wait_for("number", 19)


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert list(RunFile(tmp_path / "none.wandb").rows()) == []
