"""The scripts of `flower/`, run in a Flower environment, and what they left."""

import json
import os
import subprocess
from pathlib import Path

from environments import python_of
from flower_federation import QUIET

from fedsight.journal import journal_path
from fedsight.testing import read_events


class Scenarios:
    """results: what the script printed, scenario → result. said: its standard error."""

    def __init__(self, environment, script, folder):
        self.folder = folder
        command = [python_of(environment), Path(__file__).parent / "flower" / script, folder]
        variables = os.environ | QUIET | {"FLWR_HOME": str(folder / "home")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables)
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        self.results = json.loads(done.stdout.splitlines()[-1])

    def events(self, name, kind=object):
        return [event for event in read_events(journal_path(self.folder, name)) if isinstance(event, kind)]
