"""Optimal brain damage: what the loss would grow by without a weight."""

import collections.abc

import numpy as np

from keras_deeptricks.models.pruning.gauss_newton_diagonal import gauss_newton_diagonal
from keras_deeptricks.models.pruning.hessian_diagonal import (
    exact_hessian_diagonal,
    hutchinson_diagonal,
)
from keras_deeptricks.models.pruning.kernels import kernels_of
from keras_deeptricks.utils.checks import check_choice

_DIAGONALS = {
    "gauss_newton": gauss_newton_diagonal,
    "exact": exact_hessian_diagonal,
    "hutchinson": hutchinson_diagonal,
}


def optimal_brain_damage(
    model, x=None, y=None, sample_weight=None, diagonal="gauss_newton", **options
):
    """The increase of the loss, ½·h·w², that setting a weight w to zero is expected to cost.

    h is the second derivative of the loss of a data set. Where the network is trained to a minimum,
    weights do not depend on each other and few are set to zero, the sum over these is the increase
    of the loss. Saliencies of different layers are in the same unit, that of the loss, so that
    `prune` can compare them in the whole network.

    Args:
        model: A built `keras.Model`, compiled with an optimizer and a loss, trained.
        x: Inputs: arrays, or anything that yields batches (inputs, targets, weights). A part of the
            training data, of a few thousand rows, is often enough.
        y: Targets, for arrays only.
        sample_weight: Weights of the rows, for arrays only.
        diagonal: `"gauss_newton"`, never negative for a convex loss and for networks of any size;
            `"exact"`, for small ones; `"hutchinson"`; or a dictionary that one of the functions
            `gauss_newton_diagonal`, `exact_hessian_diagonal`, `hutchinson_diagonal` returned, with
            no data. Defaults to `"gauss_newton"`.
        **options: Arguments of that function: `batch_size`, `steps`; `samples`, `seed`.

    Returns:
        A dictionary from the path of a kernel, such as `"dense/kernel"`, to an array of its shape.
        Where h is negative so is the saliency.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, the data is empty, or the model is not built,
            not compiled, or has no weights to prune.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import optimal_brain_damage

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    x = np.array([[1.0, 0.0], [0.0, 3.0]])
    model.set_weights([np.array([[2.0], [1.0]])])  # the least squares fit of y
    (saliency,) = optimal_brain_damage(model, x, y=np.array([[2.0], [3.0]])).values()
    assert np.allclose(saliency, [[2.0], [4.5]])  # h is 1 and 9; the larger weight may go first
    ```

    Reference: LeCun, Denker & Solla, Optimal brain damage, 1990, section 2.
    """
    kernels = kernels_of(model)
    if isinstance(diagonal, collections.abc.Mapping):
        if x is not None or options:
            raise ValueError(
                "`diagonal` is a dictionary of second derivatives: pass no data and no options. "
                f"Received: x of type {type(x).__name__}, options={sorted(options)}."
            )
        _check_diagonal(diagonal, kernels)
    else:
        check_choice("diagonal", diagonal, tuple(_DIAGONALS))
        if x is None:
            raise ValueError(
                "`x` must be the data whose loss is meant, unless `diagonal` is a dictionary of "
                "second derivatives. Received: x=None."
            )
        diagonal = _DIAGONALS[diagonal](model, x, y, sample_weight, **options)
    return {
        path: 0.5 * np.asarray(h, "float64") * kernels[path].value().astype("float64") ** 2
        for path, h in diagonal.items()
    }


def _check_diagonal(diagonal, kernels):
    for path, h in diagonal.items():
        if path not in kernels or np.shape(h) != kernels[path].shape:
            shapes = {name: kernel.shape for name, kernel in kernels.items()}
            raise ValueError(
                "`diagonal` must hold an array of second derivatives for kernels of the model, by "
                f"their path: {shapes}. Received: {path!r} of shape {np.shape(h)}."
            )
