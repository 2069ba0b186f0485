"""APPFL: `watch(server_agent)` records what an APPFL server sees, in one line on the server.

    from fedsight.integrations.appfl import watch

    server_agent = ServerAgent(server_agent_config=server_agent_config)
    watch(server_agent, project="ward")
    serve(GRPCServerCommunicator(server_agent, …), …)

Clients need nothing: what they send beside their models is what is recorded of them.
"""

from __future__ import annotations

from typing import Any

import fedsight
from fedsight.errors import UsageError
from fedsight.integrations.appfl.description import described
from fedsight.integrations.appfl.hooks import attach
from fedsight.integrations.appfl.rounds import Rounds
from fedsight.run import Run

__all__ = ["watch"]

_NEEDED = {"global_update": None, "scheduler": "schedule", "aggregator": "aggregate"}


def watch(server_agent: Any, run: Run | None = None, **init_kwargs: Any) -> Run:
    """Record the training that this server agent leads, from now on.

    server_agent: an `appfl.agent.ServerAgent`, or an instance of a subclass. Its methods, and those of its
        scheduler and aggregator, are wrapped on the instances; what they take, return and raise stays the same.
    run: where to record; it stays yours to finish. When None, a run is opened by `fedsight.init`, and
        finished when the server terminates (`server_terminated`, `clean_up`), or with the process.
    init_kwargs: as of `fedsight.init`. Algorithm, framework and config come from the agent's own
        configuration unless given.

    Returns the run. Raises `UsageError` for what is no server agent, for one that is watched already, and
    for `init_kwargs` beside a `run`.
    """
    _check(server_agent)
    if run is not None and init_kwargs:
        raise UsageError(
            next(iter(init_kwargs)),
            f"watch() takes either a run or the parameters of fedsight.init() ({', '.join(init_kwargs)}), not both.",
        )
    is_ours = run is None
    if run is None:
        run = fedsight.init(**{**described(server_agent), **init_kwargs})
    attach(server_agent, Rounds(run), run if is_ours else None)
    return run


def _check(server_agent: Any) -> None:
    for part, method in _NEEDED.items():
        found = getattr(server_agent, part, None)
        if not callable(found if method is None else getattr(found, method, None)):
            raise UsageError(
                "server_agent",
                f"watch() takes an appfl.agent.ServerAgent with a scheduler and an aggregator, not {server_agent!r}: "
                f"it has no {part if method is None else f'{part}.{method}'}.",
            )
    if "global_update" in vars(server_agent) and hasattr(server_agent.global_update, "fedsight_rounds"):
        raise UsageError("server_agent", "This server agent is watched already; call watch() once.")
