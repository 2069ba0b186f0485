"""What APPFL imports besides what its server needs: modules that take any import, and PyTorch's `save` and `load` by pickle.

APPFL installs with PyTorch, Ray, Globus and fifty others. Its server agent, schedulers and gRPC communicators hand models
on without looking into them, so that they run as they are with models of NumPy arrays.
"""

import importlib.abc
import importlib.machinery
import pickle
import sys
from unittest.mock import MagicMock

ABSENT = {
    *("torch", "opacus", "piq", "sklearn", "matplotlib", "seaborn", "wandb"),
    *("boto3", "botocore", "globus_sdk", "jwt", "proxystore", "requests"),
}


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules that aren't installed here."""

    def find_spec(self, fullname, path=None, target=None):
        """A stand-in for any module below the absent packages."""
        if fullname.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        """A module that has every attribute."""
        module = MagicMock(name=spec.name)
        module.__path__ = []
        if spec.name == "proxystore.proxy":
            module.Proxy = type("Proxy", (), {})
        if spec.name == "torch":
            module.save = pickle.dump
            module.load = lambda file, **_: pickle.load(file)
        return module

    def exec_module(self, module):
        """Nothing to run."""


sys.meta_path.append(StandIns())
