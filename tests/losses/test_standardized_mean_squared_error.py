"""The squared error in units of the targets' deviations."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks.losses import StandardizedMeanSquaredError

# A few roundings of float32.
ROUNDING = {"rtol": 1e-5}


def value(loss, y_true, y_pred, **options):
    arrays = (np.asarray(y_true, "float32"), np.asarray(y_pred, "float32"))
    return ops.convert_to_numpy(loss(*arrays, **options))


def test_by_hand():
    loss = StandardizedMeanSquaredError([10.0, 2.0])
    # ((10/10)² + (4/2)²)/2 = 2.5 and ((20/10)² + 0)/2 = 2; their mean is 2.25.
    y_true, y_pred = [[20.0, 5.0], [0.0, 1.0]], [[10.0, 1.0], [20.0, 1.0]]
    np.testing.assert_allclose(value(loss, y_true, y_pred), 2.25, **ROUNDING)
    rows = StandardizedMeanSquaredError([10.0, 2.0], reduction="none")
    np.testing.assert_allclose(value(rows, y_true, y_pred), [2.5, 2.0], **ROUNDING)
    weighted = value(loss, y_true, y_pred, sample_weight=np.array([0.0, 3.0], "float32"))
    np.testing.assert_allclose(weighted, 3 * 2.0 / 2, **ROUNDING)


def test_with_a_deviation_of_one_it_is_the_mean_squared_error():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.normal(size=(2, 8, 3))
    expected = value(keras.losses.MeanSquaredError(), y_true, y_pred)
    np.testing.assert_allclose(value(StandardizedMeanSquaredError(), y_true, y_pred), expected)


def test_predicting_the_mean_costs_one_in_any_units():
    y = np.random.default_rng(0).normal(5.0, 3.0, size=(50, 2)) * [1.0, 1e3]
    loss = StandardizedMeanSquaredError(y.std(axis=0))
    mean = np.broadcast_to(y.mean(axis=0), y.shape)
    # Float32 holds 1e3·5 ± 3e3 to 2e-7 of it.
    np.testing.assert_allclose(value(loss, y, mean), 1.0, rtol=1e-4)


@pytest.mark.parametrize("true_shape, pred_shape", [((4,), (4, 1)), ((4, 1), (4,)), ((4,), (4,))])
def test_a_missing_last_axis_is_not_broadcast_over_the_rows(true_shape, pred_shape):
    y_true = np.array([1.0, 2.0, 3.0, 4.0]).reshape(true_shape)
    y_pred = np.array([1.0, 2.0, 3.0, 6.0]).reshape(pred_shape)
    # (0 + 0 + 0 + (2/2)²)/4; each row against each would give another value.
    np.testing.assert_allclose(
        value(StandardizedMeanSquaredError(2.0), y_true, y_pred), 0.25, **ROUNDING
    )


def test_whole_numbers_are_compared_as_floats():
    loss = StandardizedMeanSquaredError(2.0)
    out = ops.convert_to_numpy(loss(np.array([[3]], "int64"), np.array([[2.5]], "float32")))
    np.testing.assert_allclose(out, 0.0625, **ROUNDING)


def test_the_gradient_does_not_depend_on_the_units():
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    y = x @ np.array([[1.0], [2.0]], "float32")

    def history(scale):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "linear")])
        model.add(keras.layers.Rescaling(scale))  # predicts in the targets' own units
        model.compile("sgd", StandardizedMeanSquaredError(scale * float(y.std())))
        return model.fit(x, scale * y, epochs=2, shuffle=False, verbose=0).history["loss"]

    # A power of two changes no rounding.
    assert history(1024.0) == history(1.0)


@pytest.mark.parametrize("deviation", [2.0, 2, [2.0, 3.0], np.array([2.0, 3.0], "float32")])
def test_the_configuration_comes_back(deviation):
    loss = StandardizedMeanSquaredError(deviation, reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is StandardizedMeanSquaredError
    assert again.get_config() == loss.get_config()
    assert again.deviation == np.ravel(deviation).tolist()
    assert (again.reduction, again.name) == ("sum", "mine")


@pytest.mark.parametrize(
    "deviation, error",
    [
        (0.0, ValueError),
        (-1.0, ValueError),
        ([1.0, 0.0], ValueError),
        (float("nan"), ValueError),
        ([], ValueError),
        ("1", TypeError),
        (None, TypeError),
        ([1.0, "a"], TypeError),
    ],
)
def test_bad_deviations_are_refused(deviation, error):
    with pytest.raises(error, match="`deviation`"):
        StandardizedMeanSquaredError(deviation)


@pytest.mark.parametrize("targets", [1, 3])
def test_a_deviation_for_other_targets_is_refused(targets):
    with pytest.raises(ValueError, match=f"`deviation` holds 2 numbers, but there are {targets}"):
        value(StandardizedMeanSquaredError([1.0, 2.0]), *np.ones((2, 4, targets)))
