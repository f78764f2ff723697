"""Deleting the branches of residual blocks from a trained model."""

import math

import keras

from keras_deeptricks.utils.checks import check_flag
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.rewriting import check_has_graph, rewrite


def lesion(model, block, report=False):
    """The model without the branch of a residual block: only the shortcut is left.

    For finding out what single blocks do. A residual network is many paths of different lengths
    in one; without one branch half of them are left, and the error hardly rises, while in a plain
    network the loss of a layer destroys everything. The error after each deletion is measured
    by `keras_deeptricks.diagnostics.lesion_study`.

    What stands in the place of the block has its name: its projection (or padding), if it has
    one, and the activation behind the sum. Layers of the branch that nothing else uses are no
    part of the new model. A block that is used several times loses its branch everywhere. Weights
    are shared, not copied; the given model is left as it is. Of stochastic depth the shortcut is
    left alone, without a factor.

    A block is a `keras_deeptricks.layers.Residual` or `ResidualBlock`, or it ends in a
    `keras.layers.Add` or a `keras_deeptricks.layers.StochasticDepth`, which stand for it (such as
    `"conv2_block1_add"` in Keras' ResNet50). The shortcut is then

    1. for `StochasticDepth` the first of the two inputs;
    2. for `Add` the input from which the other one is computed: an identity;
    3. for `Add` otherwise the input with fewer layers since the two parted: a projection.

    A sum written with `+` is not found, nor a block inside a layer that is no Functional or
    Sequential model.

    Args:
        model: A built Functional or Sequential `keras.Model`.
        block: A residual block: its layer, its name or a pattern of names (`"conv2_*"`), or a list
            of these, to cut several at once. See `residual_blocks`.
        report: Whether to return what was taken out as well. Defaults to `False`.

    Returns:
        A `keras.Model`, not compiled; with `report` the pair of it and a `LesionReport`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `block` names no residual block, or a sum of which the shortcut is not known:
            of other than two tensors, or of two that are made by equally many layers; or `model`
            is subclassed, so that it has no graph, or is not built.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    inputs = keras.Input((8,))
    branch = keras.layers.Dense(8, activation="relu")(inputs)
    outputs = keras.layers.Add(name="sum")([inputs, branch])
    model = keras.Model(inputs, outputs)

    cut = kdt.models.lesion(model, "sum")
    x = np.ones((2, 8), "float32")
    assert np.array_equal(cut.predict(x, verbose=0), x)
    ```

    Reference: Veit, Wilber & Belongie, Residual networks behave like ensembles of relatively
    shallow networks, 2016, section 4.1.
    """
    report = check_flag("report", report)
    chosen = choose_blocks(model, block)
    by_layer = {id(found.layer): _WithoutBranch(found) for found in chosen}
    cut = rewrite(model, lambda layer: by_layer.get(id(layer), layer))
    return (cut, _report(model, cut, chosen)) if report else cut


def residual_blocks(model):
    """The residual blocks of a model whose branch `lesion` can cut.

    Args:
        model: A built Functional or Sequential `keras.Model`.

    Returns:
        A list of layers, in the order of computation: `Residual` and `ResidualBlock`, and the
        `keras.layers.Add` and `StochasticDepth` at the end of blocks; also of nested models.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: `model` is subclassed, so that it has no graph, or is not built.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    model = keras.Sequential([
        keras.Input((16, 16, 8)),
        kdt.layers.ResidualBlock(8, name="first"),
        kdt.layers.ResidualBlock(16, strides=2, name="second"),
    ])
    assert [block.name for block in kdt.models.residual_blocks(model)] == ["first", "second"]
    ```

    Reference: Veit, Wilber & Belongie, Residual networks behave like ensembles of relatively
    shallow networks, 2016.
    """
    return [found.layer for found in _all_blocks(model) if found.obstacle is None]


def choose_blocks(model, selection=None, name="block"):
    """The `FoundBlock`s of a model that `selection` names, all by default, in their order.

    Args:
        model: A built Functional or Sequential `keras.Model`.
        selection: As the argument `block` of `lesion`, or None.
        name: What errors call the selection.

    Raises:
        TypeError: `selection` is of the wrong type.
        ValueError: One of them is or matches no block, or the shortcut is not known.
    """
    blocks = _all_blocks(model)
    if selection is None:
        return [found for found in blocks if found.obstacle is None]
    several = selection if isinstance(selection, (list, tuple, set)) else [selection]
    chosen = [found for one in several for found in _matching(model, blocks, one, name)]
    if not chosen:
        raise ValueError(f"`{name}` must name at least one block. Received: {name}={selection!r}.")
    return [found for found in blocks if found in chosen]


def _all_blocks(model):
    from keras_deeptricks.models.residual_graph import find_blocks

    check_has_graph(model)
    return find_blocks(model)


def _matching(model, blocks, one, name):
    """The blocks that one layer, name or pattern means."""
    from keras_deeptricks.utils.selection import matches

    if isinstance(one, keras.Layer):
        found, what = [block for block in blocks if block.layer is one], f"'{one.name}'"
    elif isinstance(one, str) and one:
        found = [b for b in blocks if matches(one, b.name) or matches(one, b.layer.path)]
        what = repr(one)
    else:
        raise TypeError(
            f"`{name}` must be a residual block: its layer, its name or a pattern, or a list of "
            f"these. Received: {name}={one!r}."
        )
    usable = [block for block in found if block.obstacle is None]
    if usable:
        return usable
    known = ", ".join(block.name for block in blocks if block.obstacle is None) or "none"
    if found:
        raise ValueError(
            f"`{name}`: the branch at '{found[0].name}' cannot be cut: {found[0].obstacle}. "
            f"The residual blocks of '{model.name}': {known}."
        )
    raise ValueError(f"`{name}`: {what} is no residual block of '{model.name}'. It has: {known}.")


class _WithoutBranch(keras.Layer):
    """Stands for a block while the graph is called again: only its rest is called."""

    def __init__(self, found):
        super().__init__()
        self.found, self.rest = found, found.rest(found.name)

    def __call__(self, *args, **kwargs):
        return self.found.call_rest(self.rest, args, kwargs)


def _report(model, cut, chosen):
    from keras_deeptricks.models.lesion_report import LesionReport

    kept = {id(layer) for layer in walk_layers(cut)}
    gone = [layer for layer in walk_layers(model) if id(layer) not in kept]
    inner = [x for x in gone if not isinstance(x, keras.layers.InputLayer)]
    weights = {id(weight) for weight in cut.weights}
    return LesionReport(
        model=model.name,
        blocks=[found.name for found in chosen],
        layers=[layer.name for layer in inner if len(list(walk_layers(layer))) == 1],
        weights=sum(math.prod(w.shape) for w in model.weights if id(w) not in weights),
    )
