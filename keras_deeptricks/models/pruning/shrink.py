"""Removing the dead neurons and filters of a model for good."""

import warnings

import keras

from keras_deeptricks.models.flat_calls import FlatCalls
from keras_deeptricks.models.members import copy_model
from keras_deeptricks.models.pruning.layer_sizes import LayerSizes
from keras_deeptricks.models.pruning.shrink_plan import ShrinkPlan
from keras_deeptricks.models.pruning.shrink_report import ShrinkReport
from keras_deeptricks.models.pruning.unit_joins import MERGES
from keras_deeptricks.utils.checks import check_flag
from keras_deeptricks.utils.rewriting import check_has_graph, graph_of


def shrink(model, report=False):
    """A smaller copy of a model that predicts the same, without its dead neurons and filters.

    For a model after `prune`, to make it smaller and faster for good: kernels with zeros in them
    are as slow as any. A unit, a neuron or a filter, is removed with all its weights if

    - its output is constant: its incoming weights are 0, or come from constant units, or a batch
      norm behind it has the scale 0. What the constant is behind activation, batch norm, pooling,
      flattening goes into the bias of the next layer, which gets one if it has none;
    - or no output of the model depends on it: its outgoing weights are 0, or lead to units that
      are removed.

    Zeros must be exact. Predictions agree to about 1e-6 of the largest in float32: what a bias
    takes up is summed in float64 and rounded once.

    Units are those of `Dense`, `Conv1D` to `Conv3D`, their transposed and separable kinds. They are
    followed through depthwise convolutions, batch norm, activations that look at each entry alone,
    `PReLU`, pooling, padding, cropping, upsampling, `Flatten`, `Reshape`, `Permute`, dropout and
    noise, sums and products, concatenations. Units that a sum adds up, or that layers have which
    are called several times, go together or not at all. Left alone are units that are an output of
    the model or go into another kind of layer, such as layer normalization, softmax, recurrent
    layers and attention; a constant other than 0 before a convolution that sees zeros at the
    border; and a last unit of every layer.

    The smaller model shares nothing with the given one, which is left as it is. Nested models,
    and blocks such as `keras_deeptricks.layers.ResidualBlock`, stand in it as the layers they are
    made of. A `FixedMask` of what is left goes on. Where a constant other than 0 stood before
    dropout, passes of `MonteCarlo` would draw from another distribution.

    Args:
        model: A built Functional or Sequential `keras.Model` that can be saved.
        report: Whether to return what was done as well. Defaults to `False`.

    Returns:
        A `keras.Model`, not compiled, whose inputs and outputs have the shapes that they had; with
        `report` the pair of it and a `ShrinkReport`, whose `print` is a table. A warning tells of
        a model in which nothing is dead.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `model` is subclassed, so that it has no graph, is not built or cannot be
            saved.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import shrink

    model = keras.Sequential([
        keras.Input((4,)),
        keras.layers.Dense(8, activation="sigmoid", name="hidden"),
        keras.layers.Dense(2),
    ])
    kernel, bias = model.get_layer("hidden").get_weights()
    kernel[:, :5] = 0  # five neurons of which only the bias is left
    model.get_layer("hidden").set_weights([kernel, bias])
    small, report = shrink(model, report=True)
    print(report)
    assert small.get_layer("hidden").units == 3
    x = np.ones((2, 4))
    assert np.allclose(small.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    ```

    Reference: LeCun, Denker & Solla, Optimal brain damage, 1990, section 1 (why weights go); Hu,
    Peng, Tai & Tang, Network trimming, 2016, section 3 (neurons).
    """
    check_has_graph(model)
    report = check_flag("report", report)
    flat = FlatCalls(copy_model(graph_of(model)))
    plan = ShrinkPlan(flat)
    sizes = LayerSizes()
    # A second copy: layers of the first have been part of other graphs as well, whose tensors
    # would be what `layer.output` is.
    small = copy_model(_build(flat, plan, sizes))
    if not plan.removed:
        warnings.warn(
            f"No neuron or filter of '{model.name}' can be removed: the model is as before. "
            "Single weights that are 0 stay. `report=True` tells what was left alone.",
            stacklevel=2,
        )
    if not report:
        return small
    return small, ShrinkReport(model.name, sizes.table(), plan.removed, plan.kept)


def _build(flat, plan, sizes):
    """The graph with smaller layers; notes in `sizes` how large they were and are."""
    ends = {id(carrier.layer): plan.ends(carrier) for carrier in plan.changed}
    new_layers = {
        id(carrier.layer): carrier.new_layer(*ends[id(carrier.layer)]) for carrier in plan.changed
    }
    for call in flat.calls:
        # These know the shapes of what they join.
        if type(call.layer) in MERGES and id(call.layer) not in new_layers:
            new_layers[id(call.layer)] = type(call.layer).from_config(call.layer.get_config())

    def call_again(call, tensor_of):
        layer = new_layers.get(id(call.layer), call.layer)
        outputs = call.again(tensor_of, layer)
        sizes.add(0, call.layer, call.tensors[0], call.outputs[0])
        sizes.add(1, layer, tensor_of(call.tensors[0]), keras.tree.flatten(outputs)[0])
        return outputs

    small = flat.rebuild(call_again)
    for carrier in plan.changed:
        values = carrier.values(*ends[id(carrier.layer)])
        for weight, value in zip(new_layers[id(carrier.layer)].weights, values, strict=True):
            weight.assign(value)
    return small
