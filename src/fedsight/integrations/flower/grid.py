"""Between the training and Flower's grid: which message went to whom, and when each reply came."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fedsight.integrations.flower.guard import Guard
from fedsight.integrations.flower.replies import Reply, phase_of, take_report
from fedsight.integrations.flower.rounds import Rounds

_METHODS = ("push_messages", "pull_messages", "get_node_ids")


class GridHook:
    """Listens to one grid's methods, replaced on the object alone, until `detach`.

    read: a message and its node to the reply that it is; None: it is no result yet.
    """

    def __init__(self, guard: Guard, read: Callable[[Any, str], Reply | None]) -> None:
        self._guard = guard
        self._read = read
        self._grid: Any = None
        self._installed: dict[str, Any] = {}
        self._rounds: Rounds | None = None
        self._num_nodes: int | None = None

    def attach(self, grid: Any, rounds: Rounds) -> None:
        """Tell `rounds` what `grid` does from now on."""
        self._rounds = rounds
        if grid is None:
            return
        rounds.num_available = lambda: self._num_nodes
        if grid is self._grid:
            return
        self.detach()
        self._grid, self._rounds = grid, rounds
        for name in _METHODS:
            method = getattr(self, f"_{name}")(getattr(grid, name))
            setattr(grid, name, method)
            self._installed[name] = method

    def detach(self) -> None:
        """Give the grid its own methods back."""
        for name, method in self._installed.items():
            if vars(self._grid).get(name) is method:
                delattr(self._grid, name)
        self._installed.clear()
        self._grid, self._rounds = None, None

    def _push_messages(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def push_messages(messages: Any) -> Any:
            if messages is not None and not isinstance(messages, (list, tuple)):
                messages = list(messages)
            answer = original(messages)
            with self._guard("noting whom a message goes to"):
                for message in messages or ():
                    if self._rounds is not None and phase_of(message) is not None:
                        self._rounds.pushed(message.metadata.message_id, str(message.metadata.dst_node_id))
            return answer

        return push_messages

    def _pull_messages(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def pull_messages(message_ids: Any) -> Any:
            messages = list(original(message_ids))
            for message in messages:
                with self._guard("recording a reply"):
                    self.take(message)
            return messages

        return pull_messages

    def take(self, message: Any) -> None:
        """Record a reply, if it is one that is awaited; what the mod sent along is out of it afterwards."""
        if self._rounds is None:
            return
        node = self._rounds.node_of(message)
        if not self._rounds.is_awaited(node):
            take_report(message)
        elif (reply := self._read(message, node)) is not None:
            self._rounds.reply(reply)

    def _get_node_ids(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def get_node_ids() -> Any:
            nodes = original()
            nodes = nodes if hasattr(nodes, "__len__") else list(nodes)
            self._num_nodes = len(nodes)
            return nodes

        return get_node_ids
