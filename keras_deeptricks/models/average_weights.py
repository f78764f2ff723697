"""One model whose weights are the mean of those of several."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.members import (
    check_member_weights,
    check_sources,
    copy_model,
    finalize_normalization,
    is_weights_file,
    load_into,
    read_member,
)
from keras_deeptricks.utils.layer_walk import walk_layers


def average_weights(models, model=None, weights=None, refresh=None):
    """A new model with the mean of the weights of several models of the same structure.

    For the weights that one run passes through near its end (checkpoints, snapshots), or for runs
    that were fine-tuned from the same start: their mean lies in the middle of a flat region and
    costs no more at prediction than one model. Networks trained from different starts are not to
    be averaged so, for their units do not correspond: use `keras_deeptricks.models.Ensemble`.

    The mean is taken in float64, with one model in memory at a time beside the result; that of
    equal models is bit for bit that model. Whole-number variables and the states of seed
    generators are those of the first model. The given models are not changed. The result is not
    compiled: an optimizer's slots mean nothing for averaged weights.

    Args:
        models: A list of built models, of weight files (`.weights.h5`) or of saved models
            (`.keras`, read in safe mode); also mixed.
        model: The model that weight files belong to. It is copied, not changed.
        weights: A number ≥ 0 for each model, not all 0; by default all count the same.
        refresh: Function of the averaged model, called at the end. Moving statistics of batch
            normalization are averaged like everything else, but the mean of statistics is not
            the statistics of the mean: pass `lambda m: refresh_batch_norm(m, x)`, with
            `keras_deeptricks.models.refresh_batch_norm` and the inputs of the training. Without
            it a model with batch normalization gives a warning.

    Returns:
        A `keras.Model`, not compiled: a copy of the first of `models` (of `model` where that is a
        weight file) with other weights.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or one of the models has another structure
            than the first.
        FileNotFoundError: One of the files does not exist.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((32, 4)), np.ones((32, 1))
    files = []
    for epoch in range(3):
        model.fit(x, y, verbose=0)
        files.append(f"epoch_{epoch}.weights.h5")
        model.save_weights(files[-1])
    averaged = kdt.models.average_weights(files, model=model)
    averaged.compile(loss="mse")
    averaged.evaluate(x, y, verbose=0)
    ```

    Reference: Izmailov, Podoprikhin, Garipov, Vetrov & Wilson, Averaging weights leads to wider
    optima and better generalization, 2018.
    """
    sources = check_sources(models, model)
    shares = check_member_weights(weights, len(sources)) or [1.0] * len(sources)
    if refresh is not None and not callable(refresh):
        raise TypeError(
            f"`refresh` must be a function of the averaged model. Received: refresh={refresh!r}."
        )
    result, means = _mean(sources, model, shares)
    for variable, mean in zip(result.weights, means, strict=True):
        if mean is not None:
            variable.assign(mean)
    finalize_normalization(result)
    if refresh is not None:
        refresh(result)
    elif any(isinstance(layer, keras.layers.BatchNormalization) for layer in walk_layers(result)):
        warnings.warn(
            f"'{result.name}' has batch normalization, whose averaged statistics are not those of "
            "the averaged weights. Pass `refresh`, such as "
            "lambda m: keras_deeptricks.models.refresh_batch_norm(m, x).",
            stacklevel=2,
        )
    return result


def _mean(sources, model, shares):
    """A copy of the first model, and the weighted means of its weights (None for integers)."""
    result = scratch = None
    total = 0.0
    for place, (source, share) in enumerate(zip(sources, shares, strict=True)):
        if is_weights_file(source) and scratch is not None:
            member = load_into(scratch, source)
        else:
            member = read_member(source, model)
        if is_weights_file(source):
            scratch = member
        if result is None:
            result = copy_model(member)
            means = [_zeros(variable) for variable in result.weights]
        else:
            _check_same(result, member, place)
        total += share
        for mean, variable in zip(means, member.weights, strict=True):
            if mean is not None and share > 0:
                # In this form the mean of equal values is that value, to the last bit.
                mean += (_float64(variable) - mean) * (share / total)
    return result, means


def _zeros(variable):
    return np.zeros(variable.shape) if keras.backend.is_float_dtype(variable.dtype) else None


def _float64(variable):
    return np.asarray(ops.convert_to_numpy(variable)).astype("float64")


def _check_same(first, member, place):
    rule = "`models` must have the same structure."
    if len(first.weights) != len(member.weights):
        raise ValueError(
            f"{rule} Received: models[0] has {len(first.weights)} weights, models[{place}] has "
            f"{len(member.weights)}."
        )
    for a, b in zip(first.weights, member.weights, strict=True):
        if a.name != b.name or tuple(a.shape) != tuple(b.shape) or a.dtype != b.dtype:
            told = [f"'{v.path}' of shape {tuple(v.shape)}, {v.dtype}" for v in (a, b)]
            raise ValueError(
                f"{rule} Received: where models[0] has {told[0]}, models[{place}] has {told[1]}."
            )
