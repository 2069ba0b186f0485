"""tensorboardX: one writer, tags prefixed by the client."""

from tensorboardX import SummaryWriter


class Recorder:
    def __init__(self):
        self.writer = SummaryWriter("tb")

    def log(self, client, round_, metrics):
        for key, value in metrics.items():
            self.writer.add_scalar(f"{client}/{key}", value, round_)

    def close(self):
        self.writer.close()
