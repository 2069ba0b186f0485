"""What a client is called: Flower's node id, until its mod has sent a name that stays the same from run to run."""

from __future__ import annotations

from collections.abc import Collection

from fedsight.fields import warn_once


class ClientNames:
    """Node ids (random numbers, new in each run) to the names of clients."""

    def __init__(self) -> None:
        self._name_of: dict[str, str] = {}
        self._node_of: dict[str, str] = {}

    def of(self, node: str) -> str:
        """The client's name; its node id where none is known yet."""
        return self._name_of.get(node, node)

    def learn(self, node: str, name: str, others: Collection[str]) -> None:
        """The mod of `node` says that it is called `name`. others: the nodes that take part beside it.

        A name that one of those has already stays with that one. A node that came back with a new id takes its name over.
        """
        if self._name_of.get(node) == name:
            return
        holder = self._node_of.get(name)
        if holder is not None and holder != node and holder in others:
            warn_once(
                "name",
                f"{name!r} is the name of two Flower nodes, {holder} and {node}: the second one keeps its node id. "
                "Give each SuperNode a name of its own: --node-config 'name=\"…\"'.",
            )
            return
        self._name_of[node] = name
        self._node_of[name] = node
