"""The smallest thing worth recording: three rounds, two clients. Run it, then `fedsight view runs`."""

import fedsight

with fedsight.init(project="quickstart", algorithm="FedAvg", config={"lr": 0.1}) as run:
    for r in range(3):
        run.round_start(r, selected=["hospital-1", "hospital-2"])
        for client, accuracy in {"hospital-1": 0.70, "hospital-2": 0.64}.items():
            run.log_client_update(client, round=r, local_accuracy=accuracy + 0.05 * r, num_samples=512)
        run.log_round(r, global_accuracy=0.67 + 0.05 * r, global_loss=0.9 - 0.1 * r)
