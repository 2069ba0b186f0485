import numpy as np
import pytest

from fedsight.demo import model


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def blobs(rng):
    """Two digits that are easy to tell apart."""
    y = np.repeat(np.array([3, 8], dtype=np.int64), 40)
    x = rng.random((80, model.NUM_PIXELS)).astype(np.float32) * 0.1
    x[y == 3, :8] += 1
    x[y == 8, 8:16] += 1
    return x, y


def test_training_lowers_the_loss_and_learns_the_classes(rng, blobs):
    weights = model.initial_weights(rng)
    before = model.evaluate(weights, *blobs)
    losses = [model.train_epoch(weights, *blobs, learning_rate=0.1, batch_size=16, rng=rng) for _ in range(30)]
    after = model.evaluate(weights, *blobs)
    assert losses[-1] < losses[0] / 4
    assert after.loss < before.loss
    assert after.accuracy == after.macro_f1 == 1


def test_fedavg_is_the_mean_weighted_by_samples():
    ones = [np.ones((2, 2), np.float32), np.ones(2, np.float32)]
    fives = [5 * layer for layer in ones]
    average = model.fedavg([ones, fives], [3, 1])
    assert [layer.tolist() for layer in average] == [[[2, 2], [2, 2]], [2, 2]]
    assert all(layer.dtype == np.float32 for layer in average)


def test_a_negative_factor_turns_an_update_round(rng):
    base = model.initial_weights(rng)
    trained = [layer + np.float32(0.5) for layer in base]
    poisoned = model.extrapolate(base, trained, -3)
    assert model.distance(poisoned, base) == pytest.approx(3 * model.distance(trained, base), rel=1e-4)
    assert np.allclose(base[0] - poisoned[0], 1.5, atol=1e-5)


def test_macro_f1_counts_every_class_alike():
    always_zero = [np.zeros(shape, np.float32) for shape in ((64, 32), (32,), (32, 10), (10,))]
    always_zero[3][0] = 1
    y = np.array([0] * 9 + [1], dtype=np.int64)
    quality = model.evaluate(always_zero, np.zeros((10, 64), np.float32), y)
    assert quality.accuracy == pytest.approx(0.9)
    assert quality.macro_f1 == pytest.approx((18 / 19 + 0) / 2)
