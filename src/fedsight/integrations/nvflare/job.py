"""What NVFLARE knows of a job when it starts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
from nvflare.apis.fl_context import FLContext

SIMULATED = "simulate_job"
"""What the simulator calls every job."""


class Job(msgspec.Struct, frozen=True):
    """A job. algorithm: its first workflow's class. config: the plain arguments of its workflows. clients: who takes part."""

    id: str
    run_id: str
    name: str | None
    workspace: Path
    run_folder: Path
    algorithm: str | None
    config: dict[str, Any]
    clients: list[str]


def job_of(fl_ctx: FLContext) -> Job:
    """The job of the process that `fl_ctx` belongs to."""
    job_id = str(fl_ctx.get_job_id())
    workspace = fl_ctx.get_workspace()
    name = _json(Path(workspace.get_job_meta_path(job_id))).get("name")
    workflows = _workflows(Path(workspace.get_server_app_config_file_path(job_id)))
    get_clients = getattr(fl_ctx.get_engine(), "get_clients", None)
    return Job(
        id=job_id,
        run_id=f"{name or 'job'}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}" if job_id == SIMULATED else job_id,
        name=None if name is None else str(name),
        workspace=Path(workspace.get_root_dir()).absolute(),
        run_folder=Path(workspace.get_run_dir(job_id)).absolute(),
        algorithm=str(workflows[0].get("path", "")).rpartition(".")[2] or None if workflows else None,
        config=_config(workflows),
        clients=[client.name for client in get_clients()] if get_clients is not None else [],
    )


def _workflows(file: Path) -> list[dict[str, Any]]:
    workflows = _json(file).get("workflows")
    return [each for each in workflows if isinstance(each, dict)] if isinstance(workflows, list) else []


def _json(file: Path) -> dict[str, Any]:
    """What stands in a file of NVFLARE's; nothing where it isn't there, or isn't plain JSON (HOCON, YAML)."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _config(workflows: list[dict[str, Any]]) -> dict[str, Any]:
    """Their arguments, without models and components. Several workflows are told apart by their ids."""
    configs = {
        str(workflow.get("id")): {
            key: value
            for key, value in (workflow.get("args") or {}).items()
            if isinstance(value, (str, int, float)) or value is None
        }
        for workflow in workflows
    }
    if len(configs) == 1:
        return next(iter(configs.values()))
    return configs
