"""Verdicts on the scale of targets by hand, and of regressions of several kinds."""

import numpy as np
import pytest
from doctor_cases import Batches, case_of, classifier, found, labels, normal, regressor
from keras import layers

from keras_deeptricks.diagnostics.doctor.target_scale import find_target_scale, target_verdict
from keras_deeptricks.layers import Standardization
from keras_deeptricks.losses import StandardizedMeanSquaredError


@pytest.mark.parametrize(
    "target, prediction, verdict",
    [
        ([1, 2, 3, 0], [0, 0, 0, 0.1], None),
        ([30, 31, 32, 30], [0, 0, 0, 0.1], "noted"),
        ([300, 310, 320, 330], [0, 0, 0, 0.1], "far"),
        # It starts at the targets' mean with their deviation.
        ([300, 310, 320, 330], [310, 325, 320, 300], None),
        # Enormous predictions, as from raw inputs, are not the targets' fault.
        ([1, 2, 3, 0], [900, -800, 500, 600], None),
        ([1e-6, 3e-6, 2e-6, 0], [0.5, -0.5, 0.1, 0.2], "tiny"),
    ],
)
def test_verdicts_by_hand(target, prediction, verdict):
    assert target_verdict(target, prediction)[0] == verdict


def test_the_worst_of_several_targets_decides():
    target = np.column_stack([normal(50), 500 + normal(50)])
    kind, _, mean, _ = target_verdict(target, np.zeros((50, 2)))
    assert kind == "far"
    assert mean == pytest.approx(500, abs=1)


@pytest.mark.parametrize(
    "scale, offset, expected",
    [
        (1, 0, []),
        (10, 0, []),
        (77, 152, [("target_scale", "warning")]),
        (10, 40, [("target_scale", "note")]),
        (1e-6, 0, [("target_scale", "warning")]),
    ],
)
def test_regressions(scale, offset, expected):
    x, y = normal(100, 4), scale * normal(100, seed=1) + offset
    assert found(find_target_scale, case_of(regressor((4,)), x, y)) == expected
    assert found(find_target_scale, case_of(regressor((4,)), Batches(x, y[:, None]))) == expected


def test_whole_numbers_that_recur_are_targets_of_a_regression_too():
    years = 1990 + labels(200, 20)
    case = case_of(regressor((4,)), normal(200, 4), years)
    assert found(find_target_scale, case) == [("target_scale", "warning")]


def test_models_and_losses_that_know_the_scale_are_silent():
    x, y = normal(100, 4), (300 * normal(100, 1, seed=1) + 1000)
    units = Standardization(invert=True)
    units.adapt(y)
    rescaling = layers.Rescaling(300.0, offset=1000.0)
    loss = StandardizedMeanSquaredError(300.0)
    for model in (
        regressor((4,), units),
        regressor((4,), rescaling),
        regressor((4,), loss=loss),
        regressor((4,), loss="mape"),
    ):
        assert not found(find_target_scale, case_of(model, x, y))


def test_constant_targets_and_classes():
    x = normal(100, 4)
    case = case_of(regressor((4,)), x, np.full(100, 2.5))
    assert found(find_target_scale, case) == [("target_scale", "warning")]
    assert not found(find_target_scale, case_of(classifier((4,)), x, labels(100)))
