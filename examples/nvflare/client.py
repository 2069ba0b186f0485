"""One site: softmax regression on its share of scikit-learn's digits, by NVFLARE's Client API. Nothing here knows of Fedsight."""

import numpy as np
import nvflare.client as flare
from nvflare.client.tracking import SummaryWriter
from sklearn.datasets import load_digits

EPOCHS = 20
LEARNING_RATE = 0.3


def share_of(site: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A site's images and labels, to train and to test with: the later its number, the fewer it has."""
    images, labels = load_digits(return_X_y=True)
    images = np.hstack([images / 16, np.ones((len(images), 1))])
    number = int(site.rpartition("-")[2])
    mine = np.random.default_rng(number).choice(len(images), size=1000 // number, replace=False)
    split = len(mine) * 4 // 5
    train, test = mine[:split], mine[split:]
    return images[train], labels[train], images[test], labels[test]


def probabilities(weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    scores = images @ weights
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def loss_and_accuracy(weights: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    found = probabilities(weights, images)
    loss = -np.log(found[np.arange(len(labels)), labels] + 1e-12).mean()
    return float(loss), float((found.argmax(axis=1) == labels).mean())


def main() -> None:
    flare.init()
    writer = SummaryWriter()
    images, labels, test_images, test_labels = share_of(flare.get_site_name())
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        weights = np.asarray(model.params["numpy_key"], dtype=float)
        global_loss, global_accuracy = loss_and_accuracy(weights, test_images, test_labels)
        for epoch in range(EPOCHS):
            errors = probabilities(weights, images)
            errors[np.arange(len(labels)), labels] -= 1
            weights = weights - LEARNING_RATE * images.T @ errors / len(labels)
            loss, accuracy = loss_and_accuracy(weights, images, labels)
            step = model.current_round * EPOCHS + epoch
            writer.add_scalars("train", {"loss": loss, "accuracy": accuracy}, global_step=step)
        flare.send(
            flare.FLModel(
                params={"numpy_key": weights},
                params_type=flare.ParamsType.FULL,
                metrics={"accuracy": global_accuracy, "loss": global_loss},
                current_round=model.current_round,
                meta={"NUM_STEPS_CURRENT_ROUND": len(labels)},
            )
        )


if __name__ == "__main__":
    main()
