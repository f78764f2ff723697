"""The norm of the incoming weights of neurons and filters, as a saliency."""

import numpy as np

from keras_deeptricks.models.pruning.kernels import by_unit, kernels_of, unit_axes
from keras_deeptricks.utils.checks import check_choice, check_flag


def incoming_weight_norm(model, order=2, mean=False):
    """The norm of the incoming weights of every neuron or filter.

    For pruning whole units, which makes layers smaller and faster (see `shrink`), without data.
    Biases do not count: one alone makes a unit constant. Layers with more incoming weights have
    larger norms; compare units of different layers with `mean=True`, or prune with
    `scope="layer"`.

    Args:
        model: A built `keras.Model`.
        order: 2 for √Σw², 1 for Σ|w|. Defaults to `2`.
        mean: Whether to take the mean of w² or |w| in place of the sum. Defaults to `False`.

    Returns:
        A dictionary from the path of a kernel, such as `"dense/kernel"`, to an array of one value
        for each unit of its layer. Of a `DepthwiseConv` these are its output channels; recurrent
        layers and `Embedding` have no units.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `model` is not built.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import incoming_weight_norm

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[3.0, 1.0], [4.0, 0.0]])])
    (norms,) = incoming_weight_norm(model).values()
    assert norms.tolist() == [5.0, 1.0]
    ```

    Reference: Li, Kadav, Durdanovic, Samet & Graf, Pruning filters for efficient ConvNets, 2017,
    section 3.1 (order 1).
    """
    check_choice("order", order, (1, 2))
    check_flag("mean", mean)
    found = {}
    for path, kernel in kernels_of(model).items():
        axes = unit_axes(kernel)
        if axes is not None:
            found[path] = _norms(by_unit(kernel.value().astype("float64"), axes), order, mean)
    return found


def _norms(incoming, order, mean):
    """The norms of the rows."""
    powers = (np.mean if mean else np.sum)(np.abs(incoming) ** order, axis=1)
    return powers ** (1 / order)
