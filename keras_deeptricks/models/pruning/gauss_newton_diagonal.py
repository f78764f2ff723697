"""The diagonal of the Gauss–Newton matrix of a loss."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.pruning.data_loss import DataLoss
from keras_deeptricks.models.pruning.dense_gradients import (
    plain_dense_layers,
    squared_dense_gradients,
)
from keras_deeptricks.models.pruning.last_activations import last_activations
from keras_deeptricks.utils.backend import (
    compiled,
    hessian_vector_product,
    row_gradients,
    tracing_warnings_hidden,
)
from keras_deeptricks.utils.layer_probe import as_numpy, tensors_of
from keras_deeptricks.utils.patching import patched

# Numbers that the gradients of all rows of one call may have: 64 MiB in float32.
_NUMBERS_OF_A_CALL = 2**24
_MOST_OUTPUTS = 1024
# Of the largest curvature of a batch: below it there is only the rounding of float32.
_NOTICEABLE = 1e-8


def gauss_newton_diagonal(model, x, y=None, sample_weight=None, batch_size=None, steps=None):
    """The diagonal of the Gauss–Newton matrix for each weight that can be pruned.

    G = Σ Jᵀ·H·J over the rows, with the Jacobian J of the network's outputs and the Hessian H of
    the loss by these. It is the Hessian without the second derivatives of the network, which vanish
    where the outputs fit the targets. For a convex loss it is never negative, but for the rounding
    where a sigmoid saturates. It is cheap: at most as many gradients as there are rows times
    outputs, many at once. Rows whose loss is flat, such as those classified with certainty, cost
    nothing. Networks whose kernels are all those of `Dense` layers on rows of features need no
    gradients of single rows, and are some ten times faster.

    An activation at the very end, such as softmax, is taken as a part of the loss; for softmax with
    cross-entropy G is then the Fisher matrix. Penalties of L1 and L2 regularizers are added
    exactly. Inference mode, float32, as in `exact_hessian_diagonal`. The loss must be a mean over
    rows.

    Args:
        model, x, y, sample_weight, batch_size, steps: As for `exact_hessian_diagonal`.

    Returns:
        A dictionary from the path of a kernel, such as `"dense/kernel"`, to an array of its shape.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, the data is empty, a row has more than 1024
            outputs, or the model is not built, not compiled, has no weights to prune, masks of time
            steps, losses that layers add, or other regularizers than L1 and L2.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import gauss_newton_diagonal

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    x, y = np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]])
    (diagonal,) = gauss_newton_diagonal(model, x, y).values()
    assert np.allclose(diagonal, 10)  # a linear network: the Hessian itself
    ```

    Reference: Schraudolph, Fast curvature matrix-vector products for second-order gradient descent,
    2002, section 3; LeCun, Denker & Solla, Optimal brain damage, 1990, section 3.
    """
    loss = DataLoss(model, x, y, sample_weight, batch_size, steps)
    _check_regularizers(loss)
    total, rows = np.zeros(loss.size), 0
    with loss.ready(), tracing_warnings_hidden():
        network = None
        point = loss.point()
        for count, batch in loss.batches():
            data = tuple(map(tensors_of, batch))
            network = network or _Network(loss, point, data)
            with network.without_last_activation():
                curvatures, directions = network.curvature_of_outputs(point, data)
                total += count * network.squared_gradients(point, data[0], curvatures, directions)
            rows += count
        return loss.by_path(total / rows + _of_penalties(loss, point[0]))


class _Network:
    """The network up to its last activation, and the loss from there on."""

    def __init__(self, loss, point, data):
        self.loss, x = loss, data[0]
        self._patches, self._activations, outputs = last_activations(loss.model, x)
        # What the outputs are made of: the structure, and the shape of each for a row.
        self._structure = keras.tree.map_structure(lambda leaf: 0, outputs)
        self._shapes = [tuple(leaf.shape[1:]) for leaf in keras.tree.flatten(outputs)]
        self.size = sum(int(np.prod(shape)) for shape in self._shapes)
        if self.size > _MOST_OUTPUTS:
            raise ValueError(
                f"`model` must have at most {_MOST_OUTPUTS} outputs for a row. '{loss.model.name}' "
                f"has {self.size}: use hutchinson_diagonal."
            )
        self._check_loss(point, data)
        self._dense = plain_dense_layers(loss.model, x, loss.kernels.values())
        if self._dense is not None and not self._is_dense(point, x):
            self._dense = None
        as_is = loss.model.run_eagerly
        squares = self._sum_of_squares if self._dense is None else self._sum_of_dense_squares
        self._outputs, self._curvature, self._squares = (
            function if as_is else compiled(function)
            for function in (self._rows_of_outputs, self._curvature_along, squares)
        )

    def _check_loss(self, point, data):
        """Raises unless the loss is one of the outputs, and of the weights' penalties."""
        vector, others = point
        with self.without_last_activation():
            rows = self._rows_of_outputs(vector, others, data[0])
            found = self.loss.loss_of_outputs(self._activated(rows), others, vector, data)
        found, whole = (float(as_numpy(v)) for v in (found, self.loss.loss(vector, others, data)))
        # Nothing but rounding is between them.
        if not np.isclose(found, whole, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise ValueError(
                f"The loss of `model` ('{self.loss.model.name}') is {whole:.6g}, but {found:.6g} "
                "by its outputs alone: it has masks of time steps, regularizers of activities or "
                "losses that layers add. Use exact_hessian_diagonal or hutchinson_diagonal."
            )

    def _is_dense(self, point, x):
        """Whether the quick way leads to the gradients of single rows, tried on some rows."""
        some = keras.tree.map_structure(lambda leaf: leaf[:3], x)
        count = keras.tree.flatten(some)[0].shape[0]
        direction = self._tensor(np.random.default_rng(0).normal(size=(count, self.size)))
        part, weights = {"x": some, "direction": direction}, self._tensor(np.ones(count))
        with self.without_last_activation():
            quick = as_numpy(self._sum_of_dense_squares(*point, part, weights))
            found = as_numpy(self._sum_of_squares(*point, part, weights))
        # Both are sums of a few numbers in float32.
        return np.allclose(quick, found, rtol=1e-3, atol=1e-5 * np.abs(found).max())

    @contextlib.contextmanager
    def without_last_activation(self):
        with patched(self._patches):
            yield

    def curvature_of_outputs(self, point, data):
        """For each row, eigenvalues and eigenvectors of the Hessian of the batch's mean loss.

        Returns:
            Arrays of shape (rows, outputs) and (rows, outputs, outputs); the eigenvectors are rows.
        """
        outputs = self._outputs(*point, data[0])
        # The loss of a row depends on its own outputs alone: one product serves all rows.
        columns = [
            ops.convert_to_numpy(self._curvature(outputs, *point, data, ops.convert_to_tensor(n)))
            for n in range(self.size)
        ]
        hessian = np.stack(columns, axis=-1).astype("float64")
        values, vectors = np.linalg.eigh((hessian + hessian.transpose(0, 2, 1)) / 2)
        return values, vectors.transpose(0, 2, 1)

    def squared_gradients(self, point, x, curvatures, directions):
        """Σ λ·(∇(v·outputs))² over all rows and directions, a NumPy vector."""
        size = np.abs(curvatures).max()
        rows, numbers = np.nonzero(np.abs(curvatures) > _NOTICEABLE * size)
        # Dense layers do without the gradients of single rows.
        chunk = len(curvatures) if self._dense else _NUMBERS_OF_A_CALL // self.loss.size
        chunk = max(1, min(chunk, curvatures.size))
        total = np.zeros(self.loss.size)
        for first in range(0, len(rows), chunk):
            # Each call has as many rows as the first; those that are filled up count nothing.
            places = np.arange(first, first + chunk)
            weights = curvatures[rows[places % len(rows)], numbers[places % len(rows)]]
            weights = np.where(places < len(rows), weights, 0)
            places = places % len(rows)
            part = {
                "x": keras.tree.map_structure(
                    lambda leaf, places=places: ops.take(
                        leaf, ops.convert_to_tensor(rows[places], dtype="int32"), axis=0
                    ),
                    x,
                ),
                "direction": self._tensor(directions[rows[places], numbers[places]]),
            }
            found = self._squares(*point, part, self._tensor(weights))
            total += ops.convert_to_numpy(found)
        return total

    def _tensor(self, array):
        return ops.convert_to_tensor(array.astype(self.loss.dtype))

    def _rows_of_outputs(self, vector, others, x):
        """The outputs as one tensor of shape (rows, outputs)."""
        leaves = keras.tree.flatten(self.loss.outputs(vector, others, x))
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        flat = [
            ops.cast(ops.reshape(leaf, (-1, size)), self.loss.dtype)
            for leaf, size in zip(leaves, sizes, strict=True)
        ]
        return ops.concatenate(flat, axis=1)

    def _activated(self, rows):
        """What the model would return, of `_rows_of_outputs`."""
        first, leaves = 0, []
        for shape, activation in zip(self._shapes, self._activations, strict=True):
            size = int(np.prod(shape))
            leaf = ops.reshape(rows[:, first : first + size], (-1, *shape))
            leaves.append(leaf if activation is None else activation(leaf))
            first += size
        return keras.tree.pack_sequence_as(self._structure, leaves)

    def _curvature_along(self, outputs, vector, others, data, number):
        """For each row the column of the Hessian of the loss by the outputs."""

        def loss_of(values):
            return self.loss.loss_of_outputs(self._activated(values[0]), others, vector, data)

        basis = ops.cast(ops.arange(self.size, dtype="int32") == number, outputs.dtype)
        direction = ops.broadcast_to(basis, ops.shape(outputs))
        (column,) = hessian_vector_product(loss_of, [outputs], [direction])
        return column

    def _sum_of_squares(self, vector, others, part, weights):
        def along(values, row):
            x = keras.tree.map_structure(lambda leaf: leaf[None], row["x"])
            return ops.sum(self._rows_of_outputs(values[0], others, x)[0] * row["direction"])

        (gradients,) = row_gradients(along, [vector], part)
        return ops.matmul(weights, ops.square(gradients))

    def _sum_of_dense_squares(self, vector, others, part, weights):
        def compute():
            return ops.sum(self._rows_of_outputs(vector, others, part["x"]) * part["direction"])

        found = squared_dense_gradients(self._dense, compute, weights)
        return ops.concatenate([ops.reshape(squares, (-1,)) for squares in found])


def _check_regularizers(loss):
    known = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
    for path, kernel in loss.kernels.items():
        regularizer = kernel.variable.regularizer
        if kernel.variable.trainable and regularizer is not None and type(regularizer) not in known:
            raise ValueError(
                f"The penalty of '{path}', {type(regularizer).__name__}, may not act on each "
                "weight alone. Use exact_hessian_diagonal, or hutchinson_diagonal if it is large."
            )


def _of_penalties(loss, vector):
    """The second derivatives of the penalties, which act on each weight alone."""
    (found,) = hessian_vector_product(
        lambda values: loss.penalties(values[0]), [vector], [ops.ones_like(vector)]
    )
    return ops.convert_to_numpy(found)
