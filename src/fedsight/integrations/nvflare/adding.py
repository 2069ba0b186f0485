"""`add_fedsight`: one line that has a recipe's or a job's server (and sites) recorded."""

from __future__ import annotations

from typing import Any

from nvflare.job_config.api import FedJob

from fedsight.errors import UsageError
from fedsight.integrations.nvflare.receiver import FedsightReceiver
from fedsight.integrations.nvflare.site import FedsightSite


def add_fedsight(
    recipe_or_job: Any, *, sites: bool = False, monitor: Any = None, byoc: bool = True, **options: Any
) -> Any:
    """Have an NVFLARE job recorded. Returns what it was given.

    recipe_or_job: a recipe or a `FedJob`, before it is exported or executed. sites: each site keeps a
    journal of its own, too. monitor: measure the server's process and, with sites, theirs. byoc: False where no code may
    come with a job: our classes are then only named, and the sites' `class_allow_list` must have "fedsight.". options:
    of `FedsightReceiver`; `run_id`, `runs_dir`, `collector`, `token_file` and `drain_sec` hold for the sites, too.

    Raises `UsageError` where it is given neither.
    """
    job = recipe_or_job
    if not isinstance(job, FedJob):
        # Recipes have no public way to add a component; their job is `_job` since 2.9 (`job` before).
        job = getattr(recipe_or_job, "_job", None) or getattr(recipe_or_job, "job", None)
    if not isinstance(job, FedJob):
        raise UsageError(
            "recipe_or_job", f"add_fedsight needs a recipe or a FedJob of NVFLARE's, not {recipe_or_job!r}."
        )
    if not byoc:
        job.set_app_packages([*job.job.app_packages, "fedsight"])
    job.to_server(FedsightReceiver(monitor=monitor, **options), id="fedsight")
    if sites:
        shared = {
            name: options[name]
            for name in ("run_id", "runs_dir", "collector", "token_file", "drain_sec")
            if name in options
        }
        site = FedsightSite(monitor=monitor, **shared)
        to_client_apps = getattr(recipe_or_job, "_add_to_client_apps", None)
        if to_client_apps is not None:  # keeps apps that a recipe has per site
            to_client_apps(site, id="fedsight_site")
        else:
            job.to_clients(site, id="fedsight_site")
    return recipe_or_job
