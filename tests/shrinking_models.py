"""Models with dead units, and the comparison with their smaller copies."""

import warnings

import keras
import numpy as np
from folding_models import assert_same_predictions, randomize

from keras_deeptricks.models.pruning.shrink import shrink


def chain(shape, *parts, dtype="float32"):
    """A functional model of a row of layers, with biases and random batch norms."""
    inputs = tensor = keras.Input(shape, dtype=dtype)
    for part in parts:
        tensor = part(tensor)
    return randomize(keras.Model(inputs, tensor, name="model"))


def kill(model, name, units, axis=-1):
    """Sets all incoming weights of some units to 0; `axis` is that of the outputs."""
    _set_zero(model.get_layer(name), units, axis)


def disuse(model, name, inputs, axis=-2):
    """Sets all weights of a layer for some of its inputs to 0."""
    _set_zero(model.get_layer(name), inputs, axis)


def _set_zero(layer, places, axis):
    kernel, *others = (np.array(weight) for weight in layer.get_weights())
    np.moveaxis(kernel, axis, 0)[places] = 0
    layer.set_weights([kernel, *others])


def units_of(model, name):
    """The number of outputs of a layer with a kernel."""
    layer = model.get_layer(name)
    return getattr(layer, "units", None) or layer.filters


def shrink_with_report(model):
    """Shrinks a model; asserts that a warning tells where nothing can be removed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small, report = shrink(model, report=True)
    told = [str(each.message) for each in caught if each.category is UserWarning]
    assert len(told) == (not report.removed)
    assert all(f"No neuron or filter of '{model.name}' can be" in message for message in told)
    return small, report


def assert_shrinks(model, x=None, tolerance=1e-5, **expected):
    """Shrinks a model; asserts predictions and units of layers; returns the model and report.

    `expected` are the numbers of units by the name of the layer.
    """
    small, report = shrink_with_report(model)
    assert {name: units_of(small, name) for name in expected} == expected, str(report)
    assert report.parameters == [model.count_params(), small.count_params()]
    assert_same_predictions(model, small, x, tolerance)
    return small, report


def assert_same_by_predict(model, small, rows=3, tolerance=1e-5):
    """As `assert_same_predictions`, compiled once instead of operation by operation."""
    x = np.random.default_rng(1).normal(0.3, 1, (rows, *model.inputs[0].shape[1:]))
    before, after = (keras.tree.flatten(each.predict(x, verbose=0)) for each in (model, small))
    for a, b in zip(before, after, strict=True):
        assert np.all(np.isfinite(a))
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * np.max(np.abs(a)))


def reasons(report):
    """Why units were kept, by layer."""
    return {entry["layer"]: entry["reason"] for entry in report.kept}
