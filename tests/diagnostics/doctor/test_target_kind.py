import numpy as np
import pytest

from keras_deeptricks.diagnostics.doctor.target_kind import target_kind

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "target, kind",
    [
        (np.array([0, 1, 1, 0]), "binary"),
        (np.array([[0.0], [1.0], [1.0]]), "binary"),
        (np.array([True, False, True]), "binary"),
        (np.repeat([0, 1, 2], 5), "labels"),
        (np.repeat([-1, 1], 5), "labels"),
        (np.repeat([3.0, 7.0], 5)[:, None], "labels"),
        (np.eye(4)[RNG.integers(0, 4, 20)], "one_hot"),
        (np.array([[1, 1, 0], [0, 0, 0]]), "multi_label"),
        (np.array([[0.2, 0.8], [0.5, 0.5]]), "distribution"),
        (RNG.normal(size=30), "continuous"),
        (RNG.normal(size=(30, 3)), "continuous"),
        (np.arange(200), "continuous"),  # whole numbers, each of them once
        (RNG.integers(0, 50, (8, 12)), "sequence"),
        (np.array(["a", "b"]), "text"),
    ],
)
def test_kind(target, kind):
    assert target_kind(target).kind == kind


def test_classes_are_counted():
    kind = target_kind(np.array([2, 0, 2, 2, 0, 5]))
    assert kind.classes.tolist() == [0, 2, 5]
    assert kind.counts.tolist() == [2, 3, 1]


def test_summary_leaves_out_what_is_not_finite():
    kind = target_kind(np.array([1.5, np.nan, 2.5, np.inf]))
    assert (kind.low, kind.high, kind.mean, kind.deviation) == (1.5, 2.5, 2.0, 0.5)


def test_nothing_finite():
    assert np.isnan(target_kind(np.array([np.nan, np.inf])).mean)
