"""How strongly, and how often, neurons and filters are active on data, as saliencies."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.layers.adaptive_piecewise_linear import AdaptivePiecewiseLinear
from keras_deeptricks.layers.rrelu import RReLU
from keras_deeptricks.models.pruning.kernels import kernels_of, unit_axes, unit_count
from keras_deeptricks.models.pruning.unit_graph import UnitGraph
from keras_deeptricks.utils.activation_kinds import ACTIVATION_LAYERS, activation_name
from keras_deeptricks.utils.checks import check_number
from keras_deeptricks.utils.input_batches import InputBatches
from keras_deeptricks.utils.layer_kinds import IDENTITY_LAYERS, NOISE_LAYERS
from keras_deeptricks.utils.layer_probe import as_numpy, read_calls

# Between a layer and its activation there may be these, which keep units apart.
_PASSED = (keras.layers.BatchNormalization, *NOISE_LAYERS, *IDENTITY_LAYERS)
# Layers that are an activation and nothing else.
_ACTIVATIONS = (
    keras.layers.Activation,
    *ACTIVATION_LAYERS,
    RReLU,
    AdaptivePiecewiseLinear,
)


def mean_activation(model, x, batch_size=None, steps=None):
    """The mean absolute output of every neuron or filter on data.

    Weak units contribute little to what follows. Absolute values, for ELU, SELU and tanh go below
    zero. An output is measured behind the activation, also where that is a layer of its own, with
    batch normalization or dropout between, or, in a functional model, a function of tensors such
    as `keras.activations.relu(tensor)`. The model is called as in inference.

    Args:
        model: A built `keras.Model`.
        x: Inputs: arrays, or anything that yields batches, of which the inputs are taken.
        batch_size: Rows of a batch, for arrays only. Defaults to 256.
        steps: Number of batches to take, by default all there are.

    Returns:
        A dictionary from the path of a kernel, such as `"dense/kernel"`, to an array of one value
        for each unit of its layer, the mean over all rows and, of a filter, positions. Layers that
        another one calls in a loop (`TimeDistributed`, recurrent ones) are not in it.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, `x` is empty, or `model` is not built.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import mean_activation

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="relu")])
    model.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    (means,) = mean_activation(model, np.array([[2.0], [4.0], [-3.0]])).values()
    assert means.tolist() == [2.0, 1.0]
    ```

    Reference: Molchanov, Tyree, Karras, Aila & Kautz, Pruning convolutional neural networks for
    resource efficient inference, 2017, section 2.2.
    """
    return _unit_means(model, x, np.abs, batch_size, steps)


def active_share(model, x, above=0.0, batch_size=None, steps=None):
    """The share of inputs on which every neuron or filter is active.

    A unit of share 0 is dead on the data. Under ReLU this is 1 − APoZ, the average percentage of
    zeros. A filter counts at each of its positions.

    Args:
        model, x, batch_size, steps: As for `mean_activation`.
        above: A unit is active where its output is above this. Defaults to `0.0`.

    Returns:
        A dictionary as that of `mean_activation`, of shares from 0 to 1.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, `x` is empty, or `model` is not built.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import active_share

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="relu")])
    model.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    (shares,) = active_share(model, np.array([[2.0], [4.0], [1.0], [-3.0]])).values()
    assert shares.tolist() == [0.75, 0.25]
    ```

    Reference: Hu, Peng, Tai & Tang, Network trimming: a data-driven neuron pruning approach towards
    efficient deep architectures, 2016, equation 1.
    """
    above = check_number("above", above)
    return _unit_means(model, x, lambda outputs: outputs > above, batch_size, steps)


def _unit_means(model, x, measure, batch_size, steps):
    """The mean of a function of the outputs of each unit, by the path of its kernel."""
    kernels = {
        id(kernel.layer): kernel
        for kernel in kernels_of(model).values()
        if unit_axes(kernel) is not None
    }
    operations, sums, counts = _operations(model), {}, {}
    batches = InputBatches(x, batch_size, steps)
    for batch in batches:
        calls = read_calls(model, batch, _call)
        for place, (layer, _, outputs) in enumerate(calls):
            kernel = kernels.get(id(layer))
            if kernel is None:
                continue
            rows = _rows_of_units(as_numpy(_activated(calls, place, outputs, operations)), kernel)
            measured = measure(rows).sum(axis=0, dtype="float64")
            sums[kernel.path] = sums.get(kernel.path, 0) + measured
            counts[kernel.path] = counts.get(kernel.path, 0) + len(rows)
    if not counts:
        raise ValueError(
            "`x` is empty, or `model` has no layer with units (Dense, convolutions) that it calls. "
            f"Received: x of type {type(x).__name__}, model='{model.name}'."
        )
    order = [kernel.path for kernel in kernels.values() if kernel.path in sums]
    return {path: sums[path] / counts[path] for path in order}


def _operations(model):
    try:
        return UnitGraph(model).operations
    except ValueError:
        # It cannot be copied; nothing but activations that are operations needs its graph.
        return {}


def _call(layer, around, args, kwargs, outputs):
    tensors = [leaf for leaf in keras.tree.flatten((args, kwargs)) if ops.is_tensor(leaf)]
    return layer, tensors, outputs


def _activated(calls, place, outputs, operations):
    """The outputs behind the activation of the call in this place; its own if there is none."""
    layer, found = calls[place][0], outputs
    if activation_name(layer) != "linear":
        return outputs
    while True:
        operation = operations.get(id(layer))
        if operation is not None:
            return operation.again(lambda tensor, found=found: found)
        users = [n for n in range(place + 1, len(calls)) if _takes(calls[n], found)]
        # Dropout in inference returns the very tensor it gets.
        users = [n for n in users if calls[n][2] is not found] or users[-1:]
        if len(users) != 1:
            return outputs
        place = users[0]
        layer, _, found = calls[place]
        if isinstance(layer, _ACTIVATIONS):
            return found
        if not isinstance(layer, _PASSED):
            return outputs


def _takes(call, tensor):
    return any(each is tensor for each in call[1])


def _rows_of_units(outputs, kernel):
    """Outputs as (rows and positions, units)."""
    first = getattr(kernel.layer, "data_format", None) == "channels_first"
    outputs = np.moveaxis(outputs, 1, -1) if first else outputs
    return outputs.reshape(-1, unit_count(kernel))
