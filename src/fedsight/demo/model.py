"""A small neural network in NumPy, and federated averaging."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Weights = list[Floats]
"""The model: hidden layer's matrix and bias, output layer's matrix and bias."""

NUM_PIXELS, NUM_HIDDEN, NUM_CLASSES = 64, 32, 10


class Quality(msgspec.Struct, frozen=True):
    """How well a model does on some data."""

    accuracy: float
    loss: float
    macro_f1: float


def initial_weights(rng: np.random.Generator) -> Weights:
    """A fresh model (He initialisation)."""
    hidden = rng.normal(0, np.sqrt(2 / NUM_PIXELS), (NUM_PIXELS, NUM_HIDDEN))
    output = rng.normal(0, np.sqrt(2 / NUM_HIDDEN), (NUM_HIDDEN, NUM_CLASSES))
    layers = [hidden, np.zeros(NUM_HIDDEN), output, np.zeros(NUM_CLASSES)]
    return [layer.astype(np.float32) for layer in layers]


def _forward(weights: Weights, x: Floats) -> tuple[Floats, Floats]:
    """Hidden activations, and the log-probability of each class."""
    w1, b1, w2, b2 = weights
    hidden = np.maximum(x @ w1 + b1, 0)
    logits = hidden @ w2 + b2
    logits = logits - logits.max(axis=1, keepdims=True)
    return hidden, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def train_epoch(
    weights: Weights, x: Floats, y: Labels, *, learning_rate: float, batch_size: int, rng: np.random.Generator
) -> float:
    """One pass of stochastic gradient descent, in place. Returns the mean training loss."""
    w1, b1, w2, b2 = weights
    total_loss = 0.0
    order = rng.permutation(len(y))
    for start in range(0, len(y), batch_size):
        batch = order[start : start + batch_size]
        xb, yb = x[batch], y[batch]
        rows = np.arange(len(yb))
        hidden, log_p = _forward(weights, xb)
        total_loss -= float(log_p[rows, yb].sum())
        error = np.exp(log_p)
        error[rows, yb] -= 1
        error /= len(yb)
        error_hidden = (error @ w2.T) * (hidden > 0)
        w2 -= learning_rate * (hidden.T @ error)
        b2 -= learning_rate * error.sum(axis=0)
        w1 -= learning_rate * (xb.T @ error_hidden)
        b1 -= learning_rate * error_hidden.sum(axis=0)
    return total_loss / len(y)


def evaluate(weights: Weights, x: Floats, y: Labels) -> Quality:
    """Accuracy, mean cross-entropy and macro-averaged F1 on `x`, `y`."""
    _, log_p = _forward(weights, x)
    guess = log_p.argmax(axis=1)
    scores = []
    for digit in np.unique(y):
        hits = int(((guess == digit) & (y == digit)).sum())
        scores.append(2 * hits / (int((guess == digit).sum()) + int((y == digit).sum())))
    return Quality(
        accuracy=float((guess == y).mean()),
        loss=float(-log_p[np.arange(len(y)), y].mean()),
        macro_f1=float(np.mean(scores)),
    )


def fedavg(models: Sequence[Weights], num_samples: Sequence[int]) -> Weights:
    """Federated averaging: the mean of the clients' models, weighted by their number of samples."""
    total = sum(num_samples)
    shares = [n / total for n in num_samples]
    return [
        np.sum([share * layer for share, layer in zip(shares, layers, strict=True)], axis=0).astype(np.float32)
        for layers in zip(*models, strict=True)
    ]


def distance(a: Weights, b: Weights) -> float:
    """The L2 norm of `a` minus `b`: of an update, its gradient norm."""
    return float(np.sqrt(sum(float(((x - y) ** 2).sum()) for x, y in zip(a, b, strict=True))))


def extrapolate(base: Weights, trained: Weights, factor: float) -> Weights:
    """`base` plus `factor` times the way from it to `trained`; a negative factor points the wrong way."""
    return [(b + factor * (t - b)).astype(np.float32) for b, t in zip(base, trained, strict=True)]
