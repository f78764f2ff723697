"""Freezing and unfreezing layers of a model, also in the middle of training."""

import warnings

import keras

from keras_deeptricks.optimizers.partial_training import enable_partial_training
from keras_deeptricks.utils.checks import check_built
from keras_deeptricks.utils.compiled_step import rebuild_train_function, unwrap_optimizer
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.selection import select_layers
from keras_deeptricks.utils.trainable_flags import TrainableFlags, trainable_if_unfrozen


def freeze(model, layers):
    """Freezes layers, in place: neither weights nor batch-norm statistics change any more.

    It may be called before `compile`, between two calls of `fit`, or by a callback at the start
    or end of an epoch. Nothing is compiled anew: the optimizer keeps the slots of frozen weights
    bit for bit (and a model that is saved keeps them in the file), and the next step trains what
    is left. Batch normalization that is frozen works with its moving statistics, as in Keras.

    Args:
        model: A built `keras.Model` of any kind.
        layers: A layer, a name or pattern of layers (`"block1_*"`, `"encoder/.*"`), or a list of
            these; a layer with layers inside means all of them.

    Returns:
        The names of the layers named, from outside to inside.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `model` is not built, one of `layers` is none of its layers, or its optimizer
            cannot train a part of it (a `MultiOptimizer`). Nothing has changed then.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, name="body"), keras.layers.Dense(1, name="head")]
    )
    model.compile("adam", "mse")
    x, y = np.ones((32, 4)), np.ones((32, 1))
    kdt.models.freeze(model, "body")
    model.fit(x, y, verbose=0)
    kdt.models.unfreeze(model, "body")
    before = model.get_layer("body").get_weights()[0]
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before, model.get_layer("body").get_weights()[0])
    ```

    Reference: Yosinski, Clune, Bengio & Lipson, How transferable are features in deep neural
    networks?, 2014.
    """
    return _named(model, layers, False)


def unfreeze(model, layers):
    """Unfreezes layers, in place: their weights are trained from the next step on.

    The counterpart of `freeze`: weights that were trained before go on with the slots they had.
    In plain Keras, setting `trainable = True` on a model that was trained before trains nothing
    new on TensorFlow and raises an error on JAX, until the model is compiled with a new optimizer.
    Layers inside a frozen layer can be unfrozen alone. (Adam's family counts its steps for all
    weights together: those first trained late get no bias correction, and their first steps are
    up to three times as long.)

    Args:
        model: A built `keras.Model` of any kind.
        layers: A layer, a name or pattern of layers, or a list of these; a layer with layers
            inside means all of them.

    Returns:
        The names of the layers named, from outside to inside.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: As in `freeze`.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    kdt.models.freeze(model, model.layers)
    kdt.models.unfreeze(model, model.layers[-1])
    assert len(model.trainable_variables) == 2
    ```
    """
    return _named(model, layers, True)


def set_trainable(model, layers, trainable):
    """Freezes or unfreezes `layers`, which are layers of `model`.

    Returns:
        The number of variables, and of layers with nothing but statistics, for which it is new.
    """
    inside = {id(layer) for outer in layers for layer in walk_layers(outer)}
    owned = {id(variable) for layer in layers for variable in layer.variables}
    everything = trainable_if_unfrozen(model)
    chosen = {id(variable) for variable in everything} & owned
    optimizer = getattr(model, "optimizer", None)
    if model.compiled and optimizer is not None:
        enable_partial_training(optimizer, everything)
    changes = sum(v.trainable != trainable for v in everything if id(v) in chosen)
    flags = TrainableFlags(model)
    # Batch normalization may have statistics and nothing to train.
    changes += sum(
        flag != trainable and id(layer) in inside and _has_statistics_only(layer)
        for layer, flag in flags.layers
    )
    flags.layers = [
        (layer, trainable if id(layer) in inside else flag or (trainable and _holds(layer, inside)))
        for layer, flag in flags.layers
    ]
    flags.variables = [(v, trainable if id(v) in chosen else flag) for v, flag in flags.variables]
    flags.restore()
    if model.compiled and optimizer is not None:
        if trainable:
            known = [variable for variable in everything if id(variable) in chosen]
            unwrap_optimizer(optimizer).start_averages(known)
        rebuild_train_function(model)
    _forget_traces(model)
    return changes


def _named(model, layers, trainable):
    check_built("model", model)
    chosen = select_layers(model, layers)
    names = [layer.name for layer in chosen]
    if not set_trainable(model, chosen, trainable):
        how = "frozen" if trainable else "trained"
        warnings.warn(f"Nothing changes: {', '.join(names)} have no {how} weights.", stacklevel=3)
    return names


def _forget_traces(model):
    """Has `evaluate` and `predict` traced anew.

    On JAX they are given the weights in two lists, trained and frozen: what was traced for other
    lists of the same shapes would take the weights of one layer for those of another.
    """
    for layer in walk_layers(model):
        if isinstance(layer, keras.Model):
            layer.test_function = None
            layer.predict_function = None


def _has_statistics_only(layer):
    return isinstance(layer, keras.layers.BatchNormalization) and not (layer.center or layer.scale)


def _holds(layer, inside):
    """True for a layer around one that is to be trained: it may not stay frozen as a whole."""
    return any(id(inner) in inside for inner in walk_layers(layer))
