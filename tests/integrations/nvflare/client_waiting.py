"""A site that comes to no end in its second round."""

import time

import nvflare.client as flare


def main():
    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        while model.current_round == 1 and flare.is_running():
            time.sleep(0.1)
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
