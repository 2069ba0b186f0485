"""Federated averaging of a softmax classifier of digits, in NumPy: five clients, ten rounds, a few seconds.

What Fedsight takes are the lines with `fedsight` or `run.` in them.
"""

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fedsight

NUM_ROUNDS, NUM_CLIENTS, EPOCHS, LEARNING_RATE = 10, 5, 3, 0.5


def probabilities(weights, images):
    """The model's, one row an image; `images` have a column of ones for the bias."""
    scores = images @ weights
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def evaluate(weights, images, labels):
    """Accuracy, and mean cross-entropy loss."""
    predicted = probabilities(weights, images)
    loss = -np.log(predicted[np.arange(len(labels)), labels] + 1e-12).mean()
    return float((predicted.argmax(axis=1) == labels).mean()), float(loss)


def train(weights, images, labels):
    """A client's model after some epochs of gradient descent from the global one."""
    wanted = np.eye(10)[labels]
    for _ in range(EPOCHS):
        weights = weights - LEARNING_RATE * images.T @ (probabilities(weights, images) - wanted) / len(labels)
    return weights


images, labels = load_digits(return_X_y=True)
images = np.hstack([images / 16, np.ones((len(images), 1))])
images, test_images, labels, test_labels = train_test_split(images, labels, test_size=0.25, random_state=0)
# Each client has most of its images from a few of the digits.
order = np.argsort(labels + np.random.default_rng(0).normal(0, 3, len(labels)))
clients = {f"hospital-{k + 1}": part for k, part in enumerate(np.array_split(order, NUM_CLIENTS))}
weights = np.zeros((images.shape[1], 10))

run = fedsight.init(project="digits", framework="NumPy", config={"epochs": EPOCHS, "lr": LEARNING_RATE})
for round in range(NUM_ROUNDS):
    run.round_start(round, selected=list(clients))
    local_models, sizes = [], []
    for name, part in clients.items():
        began = time.perf_counter()
        local = train(weights, images[part], labels[part])
        took = time.perf_counter() - began
        accuracy, loss = evaluate(local, images[part], labels[part])
        result = {"local_accuracy": accuracy, "local_loss": loss, "num_samples": len(part), "bytes_sent": local.nbytes}
        run.log_client_update(name, round, **result, train_time_sec=took)
        local_models.append(local)
        sizes.append(len(part))
    weights = np.average(local_models, axis=0, weights=sizes)
    accuracy, loss = evaluate(weights, test_images, test_labels)
    run.log_round(round, global_accuracy=accuracy, global_loss=loss)
run.finish()
