"""The diagonal of the Hessian of a loss: exact, and Hutchinson's estimate of it."""

import numpy as np
from keras import ops

from keras_deeptricks.models.pruning.data_loss import DataLoss
from keras_deeptricks.utils.backend import (
    compiled,
    hessian_vector_product,
    tracing_warnings_hidden,
)
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.layer_probe import tensors_of


def exact_hessian_diagonal(model, x, y=None, sample_weight=None, batch_size=None, steps=None):
    """The second derivatives of the loss of a data set for each weight that can be pruned.

    Exact, by a Hessian-vector product with the basis vector of every weight: as many products, each
    of the cost of some training steps, as there are weights, for each batch. For small networks;
    for others use `gauss_newton_diagonal` or `hutchinson_diagonal`. The loss is that of training,
    with penalties of regularizers, in inference mode: dropout is off, batch normalization uses its
    moving statistics. Mixed precision computes in float32 here.

    Of a piecewise linear network the second derivatives leave out the kinks. They can be negative,
    away from a minimum.

    Args:
        model: A built `keras.Model`, compiled with an optimizer and a loss. It is left as it is.
        x: Inputs: arrays, or anything that yields batches (inputs, targets, weights).
        y: Targets, for arrays only.
        sample_weight: Weights of the rows, for arrays only.
        batch_size: Rows of a batch, for arrays only. Defaults to 256.
        steps: Number of batches to take, by default all there are.

    Returns:
        A dictionary from the path of a kernel, such as `"dense/kernel"`, to an array of its shape.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, the data is empty, or the model is not built,
            not compiled, or has no weights to prune.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import exact_hessian_diagonal

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    x, y = np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]])
    (diagonal,) = exact_hessian_diagonal(model, x, y).values()
    assert np.allclose(diagonal, 10)  # of (w·x − y)²: 2x², the mean of 2 and 18
    ```

    Reference: LeCun, Denker & Solla, Optimal brain damage, 1990, equation 3; Pearlmutter, Fast
    exact multiplication by the Hessian, 1994.
    """
    loss = DataLoss(model, x, y, sample_weight, batch_size, steps)

    def entry(vector, others, data, index):
        basis = ops.cast(ops.arange(loss.size, dtype="int32") == index, loss.dtype)
        return ops.sum(basis * _product(loss, vector, others, data, basis))

    def of_batch(step, point, data):
        places = (ops.convert_to_tensor(index, dtype="int32") for index in range(loss.size))
        return np.array([_number(step(*point, data, place)) for place in places])

    return _mean_over_batches(loss, entry, of_batch)


def hutchinson_diagonal(
    model, x, y=None, sample_weight=None, samples=30, seed=0, batch_size=None, steps=None
):
    """Hutchinson's estimate of the second derivatives for each weight that can be pruned.

    The mean of z ⊙ Hz over random vectors z of ±1 is the diagonal of the Hessian H, without bias.
    Its variance for a weight is the sum of the squares of the other entries in its row of H,
    divided by the number of vectors: rough where weights depend on each other much. It costs one
    Hessian-vector product for each vector and batch, whatever the number of weights.

    Args:
        model, x, y, sample_weight, batch_size, steps: As for `exact_hessian_diagonal`.
        samples: Number of random vectors for each batch. Defaults to `30`.
        seed: Whole number; the vectors are the same on all backends. Defaults to `0`.

    Returns:
        A dictionary as of `exact_hessian_diagonal`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, the data is empty, or the model is not built,
            not compiled, or has no weights to prune.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import hutchinson_diagonal

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    x, y = np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]])
    (diagonal,) = hutchinson_diagonal(model, x, y, samples=1).values()
    assert np.allclose(diagonal, 10)  # exact here, for there is one weight
    ```

    Reference: Bekas, Kokiopoulou & Saad, An estimator for the diagonal of a matrix, 2007, section
    2; Yao et al., AdaHessian, 2021, equation 9.
    """
    samples = check_integer("samples", samples, minimum=1)
    rng = np.random.default_rng(check_integer("seed", seed, minimum=0))
    loss = DataLoss(model, x, y, sample_weight, batch_size, steps)

    def products(vector, others, data, signs):
        return signs * _product(loss, vector, others, data, signs)

    def of_batch(step, point, data):
        total = np.zeros(loss.size)
        for _ in range(samples):
            signs = rng.choice([-1.0, 1.0], loss.size).astype(loss.dtype)
            total += ops.convert_to_numpy(step(*point, data, ops.convert_to_tensor(signs)))
        return total / samples

    return _mean_over_batches(loss, products, of_batch)


def _product(loss, vector, others, data, direction):
    """The Hessian of the loss of a batch times a vector."""
    (product,) = hessian_vector_product(
        lambda values: loss.loss(values[0], others, data), [vector], [direction]
    )
    return product


def _mean_over_batches(loss, function, of_batch):
    """The mean over rows of what a compiled function finds for batches, by path."""
    total, rows = np.zeros(loss.size), 0
    with loss.ready(), tracing_warnings_hidden():
        step = function if loss.model.run_eagerly else compiled(function)
        point = loss.point()
        for count, batch in loss.batches():
            total += count * of_batch(step, point, tuple(map(tensors_of, batch)))
            rows += count
    return loss.by_path(total / rows)


def _number(tensor):
    return float(ops.convert_to_numpy(tensor))
