import numpy as np
import pytest

from fedsight.demo.partition import dirichlet_split

LABELS = np.repeat(np.arange(10, dtype=np.int64), 100)


def split(alpha=0.3, num_clients=20, min_samples=10, seed=3):
    return dirichlet_split(LABELS, num_clients, alpha=alpha, min_samples=min_samples, rng=np.random.default_rng(seed))


def largest_class_share(part):
    return np.bincount(LABELS[part]).max() / len(part)


def test_every_sample_goes_to_exactly_one_client():
    assert sorted(np.concatenate(split())) == list(range(len(LABELS)))


def test_nobody_has_fewer_than_the_least():
    assert min(len(part) for part in split(min_samples=30)) >= 30


def test_a_small_alpha_gives_clients_fewer_classes():
    skewed = np.mean([largest_class_share(part) for part in split(alpha=0.1)])
    even = np.mean([largest_class_share(part) for part in split(alpha=100)])
    assert skewed > 2 * even


def test_the_same_seed_gives_the_same_split():
    assert [p.tolist() for p in split(seed=5)] == [p.tolist() for p in split(seed=5)]


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="1000 samples are too few for 20 clients with 60 each"):
        split(min_samples=60)
