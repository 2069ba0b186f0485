"""Exports a job with both receivers and a site: `exported.py FOLDER`."""

import sys

from nvflare.app_common.np.np_trainer import NPTrainer
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.job_config.base_fed_job import BaseFedJob

from fedsight.integrations.nvflare import FedsightReceiver, FedsightSite, MLflowReceiver

job = BaseFedJob(name="exported", min_clients=2, key_metric="")
job.to_server(FedAvg(num_clients=2, num_rounds=2))
job.to_server(
    FedsightReceiver(
        project="ward",
        tags={"team": "research"},
        collector="http://127.0.0.1:8083",
        token_file="/etc/fedsight/token",
        emitters={"tensorboard": {"log_dir": "tb"}},
        monitor={"interval": 2.0},
    ),
    id="fedsight",
)
job.to_server(
    MLflowReceiver(
        tracking_uri="http://127.0.0.1:5000",
        kw_args={"experiment_name": "ward", "run_tags": {"team": "research"}},
        artifact_location="texts",
        buffer_flush_time=0.5,
    ),
    id="receiver",
)
job.to_clients(NPTrainer())
job.to_clients(FedsightSite(monitor=True, runs_dir="own"), id="fedsight_site")
job.set_app_packages(["fedsight"])
job.export_job(sys.argv[1])
