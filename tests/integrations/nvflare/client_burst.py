"""A site that logs 300 metrics a round, as fast as it can."""

import nvflare.client as flare
from nvflare.client.tracking import MLflowWriter


def main():
    flare.init()
    writer = MLflowWriter()
    step = 0
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        for _ in range(300):
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
