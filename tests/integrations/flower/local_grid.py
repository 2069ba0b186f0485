"""A Flower grid without Ray, processes and time: ClientApps run in this process, one after the other, in the order of their nodes."""

import contextlib
import copy
import time

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid

with contextlib.suppress(ImportError):  # new in 1.4x: a message wants to know whose it is
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 1

SUPERLINK = 1
NODE_UNAVAILABLE = 5


class LocalGrid(Grid):
    """nodes: node id → ClientApp. dead: nodes whose error the SuperLink tells. silent: nodes that never answer.

    may_answer: called before replies are handed out; none are while it is false. num_connected: so many nodes are there.
    """

    def __init__(self, nodes):
        self.nodes = dict(nodes)
        self.dead = set()
        self.silent = set()
        self.may_answer = lambda: True
        self.num_connected = lambda: len(self.nodes)
        self._sent = {}
        self._contexts = {
            node: Context(7, node, {"partition-id": i, "num-partitions": len(self.nodes)}, RecordDict(), {})
            for i, node in enumerate(self.nodes)
        }

    def set_run(self, run):
        self._run = run

    @property
    def run(self):
        return self._run

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self):
        return list(self.nodes)[: self.num_connected()]

    def push_messages(self, messages):
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = message_id = f"message-{len(self._sent)}"
            self._sent[message_id] = message
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids):
        if not self.may_answer():
            return []
        return [reply for each in sorted(message_ids) if (reply := self._answer(self._sent[each])) is not None]

    def _answer(self, message):
        node = message.metadata.dst_node_id
        if node in self.silent:
            return None
        if node in self.dead:
            reply = Message(Error(NODE_UNAVAILABLE, "the node is gone"), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = SUPERLINK
            return reply
        try:
            # As over a wire: mods take things out of a message, and the server sends all nodes the same records.
            return self.nodes[node](message=copy.deepcopy(message), context=self._contexts[node])
        except Exception as error:
            return Message(Error(2, str(error)), reply_to=message)

    def send_and_receive(self, messages, *, timeout=None):
        waiting = set(self.push_messages(messages))
        replies = []
        end = None if timeout is None else time.monotonic() + timeout
        while waiting and (end is None or time.monotonic() < end):
            news = self.pull_messages(waiting)
            replies += news
            waiting -= {reply.metadata.reply_to_message_id for reply in news}
            time.sleep(0.01)
        return replies
