"""A destination that never comes back from its first batch."""

import threading


class Hanging:
    identity = "hanging"

    def on_events(self, batch):
        threading.Event().wait()
