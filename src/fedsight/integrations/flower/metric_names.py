"""Which of an application's metrics are the accuracy and the loss, and what the others are called in the recording.

A name is read as words: "val-Accuracy" and "val_accuracy" are `val`, `accuracy`. It is an accuracy
or a loss where its last word says so and all before it only say whose it is, of which phase: `train_acc`
is one, `top5_accuracy` and `regularisation_loss` are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fedsight.events import ROUND_NUMBERS

_OF_TRAINING = ("train", "training", "fit")
_OF_EVALUATION = ("eval", "evaluate", "evaluation", "val", "valid", "validation", "test")
_OF_THE_SERVER = ("server", "central", "centralized", "centralised", "global")
_NEUTRAL = ("local", "client", "mean", "avg", "average", "aggregated", "federated", "distributed")
_LAST_WORDS = {"accuracy": "accuracy", "acc": "accuracy", "loss": "loss"}

_TAKEN = frozenset({"client_id", "round", "base_round", "metrics", "extra", "ts", "status", "algorithm_metadata"})
"""What an event itself has, and no metric can be called."""


LONGEST_LIST = 1000


def recordable(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is no figure: bytes (the older API's clients may send anything), and lists of more than 1,000 numbers."""
    return {
        name: value
        for name, value in metrics.items()
        if not isinstance(value, bytes) and not (isinstance(value, list) and len(value) > LONGEST_LIST)
    }


def words_of(name: str) -> list[str]:
    """The words of a metric's name, in lower case."""
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def find(metrics: Mapping[str, Any], kind: str, phase: str) -> str | None:
    """The name of the metric that is the `kind` ("accuracy", "loss") of a phase ("train", "evaluate"); None: there is none.

    Of several, the one that says nothing else is preferred, then one that names the phase, then the
    first of the others by the alphabet; lists are none.
    """
    of_phase = _OF_TRAINING if phase == "train" else _OF_EVALUATION
    found: list[tuple[int, str]] = []
    for name, value in metrics.items():
        *before, last = words_of(name) or [""]
        if _LAST_WORDS.get(last) != kind or isinstance(value, (list, str, bytes)):
            continue
        if all(word in _OF_TRAINING + _OF_EVALUATION + _OF_THE_SERVER + _NEUTRAL for word in before):
            found.append((0 if not before else 1 if before[0] in of_phase else 2, name))
    return min(found)[1] if found else None


def of_evaluation(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of the evaluate phase: `eval_` before names that don't begin with a word for it."""
    return _called(metrics, _OF_EVALUATION, "eval_")


def of_server(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of the server's own evaluation: `server_` before names that don't begin with a word for it."""
    return _called(metrics, _OF_THE_SERVER, "server_")


def _called(metrics: Mapping[str, Any], words: Iterable[str], prefix: str) -> dict[str, Any]:
    allowed = frozenset(words)
    return {
        name if (words_of(name) or [""])[0] in allowed else f"{prefix}{name}": value for name, value in metrics.items()
    }


def of_update(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Names that an update can hold: its own fields' are allowed, for then the application reports that field."""
    return {f"train_{name}" if name in _TAKEN else name: value for name, value in metrics.items()}


_ROUND_FIGURES = frozenset({"global_accuracy", "global_loss", "gradient_norm_dispersion"})


def of_round(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Names that a round's end can hold beside the bridge's own figures."""
    taken = (_TAKEN | frozenset(ROUND_NUMBERS)) - _ROUND_FIGURES
    return {f"train_{name}" if name in taken else name: value for name, value in metrics.items()}
