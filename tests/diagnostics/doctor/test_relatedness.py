"""Whether targets go with inputs: the test by hand, its size under chance, and its power."""

import itertools
import math

import numpy as np
import pytest
import sklearn.datasets
from doctor_cases import labels, normal

from keras_deeptricks.diagnostics.doctor.relatedness import permutation_p, relatedness


def related(x, y, seed=0):
    return relatedness(x, y, np.random.default_rng(seed))


def test_mean_and_variance_are_those_of_all_permutations():
    told, target = normal(5, 2), normal(5, 2, seed=1)
    centred = told - told.mean(0)
    sums = [
        float(np.sum(centred * (target - target.mean(0))[list(order)]))
        for order in itertools.permutations(range(5))
    ]
    z = (sums[0] - np.mean(sums)) / np.std(sums)
    p = permutation_p(told.astype(float), target.astype(float), np.zeros(5, int))
    assert p == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), rel=1e-5)  # sums in float32


def test_chance_is_seldom_taken_for_a_relation():
    # 20 examinations: a p below 0.001 comes once in 50 such tests, twice hardly ever.
    low = 0
    for seed in range(10):
        x = normal(150, 6, seed=seed)
        low += related(x, labels(150, 3, seed + 50), seed).best_p < 1e-3
        low += related(x, normal(150, seed=seed + 90), seed).best_p < 1e-3
    assert low <= 1


@pytest.mark.parametrize("name", ["iris", "digits", "breast_cancer", "diabetes"])
def test_real_tables_are_related_and_shuffled_ones_are_not(name):
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    assert related(x, y).best_p < 1e-6
    assert related(x, np.random.default_rng(1).permutation(y)).best_p > 1e-4


def test_relations_of_every_kind():
    rng = np.random.default_rng(0)
    x = normal(800, 4)
    phase = rng.uniform(0, 6, (800, 1))
    waves = np.sin((0.3 + 0.3 * labels(800)[:, None]) * np.arange(24) + phase)
    tokens = rng.integers(20, 500, (800, 12))
    marked = labels(800, 2)
    tokens[marked == 1, rng.integers(0, 12)] = 7
    tokens[marked == 1] = rng.permuted(tokens[marked == 1], axis=1)
    words = np.array([f"the film was {'good' if m else 'bad'}" for m in marked])
    cases = {
        "product": (x, x[:, 0] * x[:, 1]),
        "circles": (x[:, :2], np.hypot(x[:, 0], x[:, 1]) > 1.2),
        "waves": (waves[..., None], labels(800)),
        "tokens": (tokens, marked),
        "words": (words, marked),
        "one-hot": (x, np.eye(2)[(x[:, 0] > 0).astype(int)]),
        "several targets": (x, np.column_stack([normal(800, seed=5), x[:, 2]])),
        "two inputs": ([normal(800, 3, seed=8), x], x[:, 1]),
        "multi-label": (x, (x[:, :3] > 0).astype(int)),
        "maps": (x[:, :, None] * np.ones(5), np.repeat(x[:, :1], 50, 1).reshape(800, 10, 5)),
    }
    for name, (inputs, target) in cases.items():
        assert related(inputs, target).best_p < 1e-4, name


def test_scores():
    x = normal(500, 3)
    found = related(x, x[:, 0])
    assert found.rows == 500
    assert found.chance == 0
    assert found.linear_score > 0.9
    found = related(x, (x[:, 0] > 0.5).astype(int))
    assert found.chance == pytest.approx(np.mean(x[:, 0] <= 0.5))
    assert found.linear_score > found.chance
    assert found.knn_score > found.chance


def test_nothing_to_be_told():
    x = normal(100, 3)
    for inputs, target in (
        (x, np.ones(100)),
        (x[:10], labels(10)),
        (np.ones((100, 3)), labels(100)),
    ):
        assert related(inputs, target).best_p == 1
