"""Runs jobs in a federation of real processes: `poc.py FOLDER`; prints their ids and statuses as its last line.

The first brings code of its own; the second doesn't, and the server's allow list names us; the third is aborted
in its second round. NVFLARE keeps the federation where `NVFLARE_POC_WORKSPACE` says: in FOLDER/poc.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from nvflare.app_common.np.np_model_persistor import NPModelPersistor
from nvflare.app_common.np.np_trainer import NPTrainer
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.job_config.base_fed_job import BaseFedJob
from nvflare.recipe import PocEnv

from fedsight.events import RoundStart
from fedsight.integrations.nvflare import add_fedsight
from fedsight.testing import read_events

HERE = Path(__file__).parent
FOLDER = Path(sys.argv[1])
RUNS = str(FOLDER / "runs")


def with_code(client):
    recipe = NumpyFedAvgRecipe(
        name="digits", model=np.zeros((65, 10)), min_clients=2, num_rounds=2, train_script=str(HERE / client)
    )
    return add_fedsight(recipe, sites=True, monitor=0.5, runs_dir=RUNS)


def without_code():
    job = BaseFedJob(name="plain", min_clients=2, key_metric="")
    job.to_server(NPModelPersistor(), id="persistor")
    job.to_server(FedAvg(num_clients=2, num_rounds=2))
    job.to_clients(NPTrainer())
    return add_fedsight(job, byoc=False, runs_dir=RUNS)


def allow_fedsight(site):
    """What an administrator does once: our classes may be named by jobs that bring no code."""
    local = next(FOLDER.glob(f"poc/*/prod_00/{site}/local"))
    file = local / "resources.json"
    resources = json.loads((file if file.exists() else local / "resources.json.default").read_text())
    resources["class_allow_list"] = [*resources["class_allow_list"], "fedsight."]
    file.write_text(json.dumps(resources, indent=2))


def wait_until(condition, timeout_sec=90):
    until = time.monotonic() + timeout_sec
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def began_round(job_id, number):
    path = Path(RUNS) / f"{job_id}.jsonl"
    return path.exists() and any(isinstance(e, RoundStart) and e.round == number for e in read_events(path))


def main():
    env = PocEnv(num_clients=2)
    jobs = {}
    try:
        jobs["with_code"] = env.deploy(with_code("client_everything.py")._job)
        allow_fedsight("server")
        session = env._get_session_manager()
        jobs["without_code"] = session.submit_job(without_code())
        jobs["aborted"] = session.submit_job(with_code("client_waiting.py")._job)
        wait_until(lambda: began_round(jobs["aborted"], 1))
        env.abort_job(jobs["aborted"])
        for job in jobs.values():
            env.get_job_result(job, timeout=120)
        told = {name: (job, env.get_job_status(job)) for name, job in jobs.items()}
    finally:
        env.stop(clean_up=False)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
