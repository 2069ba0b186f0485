"""A site of an NVFLARE job: logs 300 metrics a round as fast as it can; where `BENCH_CHANGES` is set, a parameter that changes, too."""

import os
import time
from pathlib import Path

import nvflare.client as flare
from nvflare.client.tracking import MLflowWriter


def main():
    flare.init()
    writer = MLflowWriter()
    folder, site = Path(os.environ["BENCH_FOLDER"]), flare.get_site_name()
    step = 0
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        if step == 0:
            (folder / f"first_task.{site}").write_text(repr(time.time()))
        for i in range(300):
            if "BENCH_CHANGES" in os.environ and i == 150:
                writer.log_param("lr", 0.5 / (model.current_round + 1))
            writer.log_metric("loss", 1 / (1 + step), step=step)
            step += 1
        flare.send(
            flare.FLModel(
                params={"numpy_key": model.params["numpy_key"] + 1.0},
                params_type=flare.ParamsType.FULL,
                metrics={"accuracy": 0.5},
                current_round=model.current_round,
            )
        )


if __name__ == "__main__":
    main()
