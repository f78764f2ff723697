"""Models with trained-looking batch norms, and the comparison with their folded copies."""

import warnings

import keras
import numpy as np
from keras import layers, ops

import keras_deeptricks as kdt
from keras_deeptricks.utils.layer_walk import walk_layers


def randomize(model, seed=0):
    """Gives batch norms statistics, shifts and scales (negative and 0 too), other layers biases."""
    rng = np.random.default_rng(seed)
    for layer in walk_layers(model):
        if isinstance(layer, layers.BatchNormalization):
            size = layer.moving_mean.shape
            if layer.scale:
                gamma = rng.normal(1, 0.7, size)
                # One of each kind wherever there is more than one channel.
                gamma[-1], gamma[0] = -0.6, 0.0 if len(gamma) > 1 else -0.6
                layer.gamma.assign(gamma)
            if layer.center:
                layer.beta.assign(rng.normal(0, 0.5, size))
            layer.moving_mean.assign(rng.normal(0, 0.5, size))
            layer.moving_variance.assign(rng.uniform(0.3, 2, size))
        elif getattr(layer, "bias", None) is not None and hasattr(layer.bias, "assign"):
            layer.bias.assign(rng.normal(0, 0.5, layer.bias.shape))
    return model


def chain(shape, *parts, dtype="float32"):
    """A functional model of a row of layers with random batch norms."""
    inputs = tensor = keras.Input(shape, dtype=dtype)
    for part in parts:
        tensor = part(tensor)
    return randomize(keras.Model(inputs, tensor, name="model"))


def norms(model):
    """The batch norms anywhere in a model."""
    return [layer for layer in walk_layers(model) if isinstance(layer, layers.BatchNormalization)]


def inputs_of(model, rows=3, seed=1):
    rng = np.random.default_rng(seed)
    return keras.tree.map_structure(
        lambda t: rng.normal(0.3, 1, [6 if n is None else n for n in (rows, *t.shape[1:])]).astype(
            t.dtype
        ),
        model.inputs[0] if isinstance(model, keras.Sequential) else model.input,
    )


def outputs_of(model, x):
    """The outputs in inference; seldom by `predict`, which would compile each small model."""
    formats = {getattr(layer, "data_format", None) for layer in walk_layers(model)}
    if "channels_first" in formats:
        # Outside a compiled function Keras on TensorFlow adds such a bias along the wrong axis.
        return model.predict(x, verbose=0)
    x = keras.tree.map_structure(ops.convert_to_tensor, x)
    return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))


def assert_same_predictions(model, folded, x=None, tolerance=1e-5):
    """Asserts equal predictions, within `tolerance` of the largest; of any structure."""
    x = inputs_of(model) if x is None else x
    before, after = outputs_of(model, x), outputs_of(folded, x)
    keras.tree.assert_same_structure(before, after)
    for a, b in zip(keras.tree.flatten(before), keras.tree.flatten(after), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert np.all(np.isfinite(a))
        assert np.max(np.abs(a)) > 0
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * np.max(np.abs(a)))


def assert_folds(model, *expected, kept=0, across=None, tolerance=1e-5, x=None, **options):
    """Folds a model and asserts predictions, layers and report; returns the folded model.

    `expected` are the folds as "batch norm > layer" (forward) or "layer < batch norm" (backward).
    """
    folded, report = kdt.models.fold_batch_norm(model, report=True, **options)
    if across is not None:
        assert [entry["across"] for entry in report.folded] == [across]
    told = [
        f"{entry['batch_norm']} > {entry['into']}"
        if entry["direction"] == "forward"
        else f"{entry['into']} < {entry['batch_norm']}"
        for entry in report.folded
    ]
    assert sorted(told) == sorted(expected), str(report)
    assert len(norms(folded)) == kept, str(report)
    assert not folded.compiled
    assert_same_predictions(model, folded, x, tolerance)
    return folded


def assert_keeps(model, reason, **options):
    """Asserts that nothing is folded, and that the report tells why."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folded, report = kdt.models.fold_batch_norm(model, report=True, **options)
    told = [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert len(told) == 1
    assert told[0].startswith(f"No batch normalization of '{model.name}' can be folded")
    assert report.folded == []
    assert len(norms(folded)) == len(norms(model)) == len(report.kept)
    assert reason == "" or any(reason in entry["reason"] for entry in report.kept), str(report)
    return folded
