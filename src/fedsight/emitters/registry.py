"""Emitters by name: the built-in ones, and those that other packages bring by the entry point group `fedsight.emitters`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec

from fedsight import lifecycle
from fedsight.errors import UsageError

GROUP = "fedsight.emitters"


class Entry(msgspec.Struct):
    """One emitter.

    target: "module:Class". origin: the distribution that brings it. packages: import names, one of
    which it needs. extra: what installs them.
    """

    name: str
    target: str
    origin: str = "fedsight"
    packages: tuple[str, ...] = ()
    extra: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether what it needs can be imported."""
        return not self.packages or any(_is_there(package) for package in self.packages)

    @property
    def pip_command(self) -> str | None:
        """The command that installs what it needs."""
        return None if self.extra is None else f"pip install 'fedsight[{self.extra}]'"


_BUILT_IN = (
    Entry("collector", "fedsight.emitters.collector:CollectorEmitter"),
    Entry("mlflow", "fedsight.emitters.mlflow:MLflowEmitter", packages=("mlflow",), extra="mlflow"),
    Entry("wandb", "fedsight.emitters.wandb:WandbEmitter", packages=("wandb",), extra="wandb"),
    Entry(
        "tensorboard",
        "fedsight.emitters.tensorboard:TensorBoardEmitter",
        packages=("tensorboardX", "torch.utils.tensorboard"),
        extra="tensorboard",
    ),
    Entry(
        "prometheus",
        "fedsight.emitters.prometheus:PrometheusEmitter",
        packages=("prometheus_client",),
        extra="prometheus",
    ),
    Entry("otlp", "fedsight.emitters.otlp:OTLPEmitter", packages=("opentelemetry.sdk",), extra="otlp"),
    Entry("sse", "fedsight.emitters.sse:SSEEmitter"),
)


def entries() -> list[Entry]:
    """All emitters that are known here; a built-in one's name can't be taken by another package."""
    names = {entry.name for entry in _BUILT_IN}
    others = [
        Entry(point.name, point.value, origin=point.dist.name if point.dist is not None else "?")
        for point in entry_points(group=GROUP)
        if point.name not in names
    ]
    return [*_BUILT_IN, *sorted(others, key=lambda entry: entry.name)]


def is_registered(name: str) -> bool:
    """Whether there is an emitter of that name."""
    return any(entry.name == name for entry in entries())


def load(name: str) -> Any:
    """The class behind `name`: a registered one's, or a "module:Class" that can be imported from here.

    Raises `UsageError` where there is none, `ImportError` where its own module fails to import something.
    """
    target = next((entry.target for entry in entries() if entry.name == name), name)
    module, _, attribute = target.partition(":")
    if not attribute:
        known = ", ".join(entry.name for entry in entries())
        raise UsageError("to", f"There is no emitter {name!r}. There are: {known}; or give MODULE:CLASS.")
    if target == name and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a command's own path has not the folder where the user stands
    why = (
        f"{module}.py starts a run when it is imported for {attribute}: put the class into a module of its own, or the "
        'training under `if __name__ == "__main__":`.'
    )
    try:
        with lifecycle.no_new_runs(why):
            found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UsageError("to", f"The emitter {name!r} can't be imported: {error}.") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError("to", f"The emitter {name!r} can't be imported: {module} has no {attribute}.")
        found = getattr(found, part)
    return found


def make(name: str, options: Mapping[str, Any]) -> Any:
    """An emitter by name, with the options of its constructor.

    Raises `UsageError` for an option that it doesn't have, or lacks, naming those that it has.
    """
    cls = load(name)
    allowed, takes_any = _options_of(cls)
    unknown = [option for option in options if option not in allowed]
    if unknown and not takes_any:
        has = ", ".join(allowed) if allowed else "none"
        raise UsageError("set", f"The emitter {name!r} has no option {unknown[0]!r}. It has: {has}.")
    missing = [option for option, parameter in allowed.items() if parameter.default is parameter.empty]
    if lacking := [option for option in missing if option not in options]:
        raise UsageError("set", f"The emitter {name!r} needs --set {lacking[0]}=…")
    return cls(**options)


def _options_of(cls: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    parameters = inspect.signature(cls).parameters.values()
    named = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    return named, any(each.kind is each.VAR_KEYWORD for each in parameters)


def options_from(texts: list[str]) -> dict[str, Any]:
    """Options from "key=value": the value as JSON where it is that, as text otherwise."""
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError("set", f"--set takes key=value, not {text!r}.")
        try:
            options[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            options[key] = value
    return options


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
