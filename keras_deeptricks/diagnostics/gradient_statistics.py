"""How large the gradients of every weight and layer are."""

import dataclasses

import numpy as np
from keras import ops

from keras_deeptricks.utils.batches import ensure_built, row_count
from keras_deeptricks.utils.checks import check_flag, check_integer
from keras_deeptricks.utils.compiled_step import check_compiled
from keras_deeptricks.utils.layer_probe import (
    leaf_calls,
    observed_gradients,
    variables_by_layer,
)
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.row_chunks import row_chunks


@dataclasses.dataclass(frozen=True, eq=False)
class GradientStatistics(Result):
    """The gradients of V trainable variables, and of the L layers that have them.

    Norms are Euclidean, over all entries. The root mean square (RMS) is that of a single entry, and
    compares layers of different sizes.

    Attributes:
        loss: The loss whose gradients these are, with all penalties.
        variables: The paths of the V variables, such as `"dense/kernel"`.
        variable_layers: The name of the layer that each belongs to.
        norm, rms: Norm and RMS of each variable's gradient, float arrays (V,).
        weight_norm: Norm of each variable.
        ratio: `norm / weight_norm`; infinite for a variable that is all zero.
        layers: Names of the layers, in the order of computation.
        layer_norm, layer_rms, layer_weight_norm, layer_ratio: The same, of all variables of a layer
            together, float arrays (L,).
        nan_share: Share of the entries of each variable's gradient that are NaN or infinite.
        rows: Number of rows that the loss is of.
    """

    loss: float
    variables: list
    variable_layers: list
    norm: np.ndarray
    rms: np.ndarray
    weight_norm: np.ndarray
    ratio: np.ndarray
    layers: list
    layer_norm: np.ndarray
    layer_rms: np.ndarray
    layer_weight_norm: np.ndarray
    layer_ratio: np.ndarray
    nan_share: np.ndarray
    rows: int

    plot_function = "plot_gradient_statistics"

    @property
    def first_to_last(self):
        """RMS of the first layer's gradients by that of the last layer's, a float.

        Far below 1 gradients vanish on their way back to the first layer, far above 1 they explode.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.layer_rms[0] / self.layer_rms[-1])

    def __str__(self):
        width = max(map(len, [*self.layers, "layer"]))
        lines = [
            f"loss {self.loss:.4g} of {self.rows} rows; first to last {self.first_to_last:.3g}",
            f"{'layer':{width}}       norm        rms  norm / weights",
        ]
        for i, name in enumerate(self.layers):
            lines.append(
                f"{name:{width}}  {self.layer_norm[i]:9.3g}  {self.layer_rms[i]:9.3g}  "
                f"{self.layer_ratio[i]:14.3g}"
            )
        return "\n".join(lines)


def gradient_statistics(model, x, y=None, *, sample_weight=None, rows=256, training=False):
    """Measures the gradients of the loss of one batch, variable by variable and layer by layer.

    To see whether gradients vanish or explode on their way back through a network. Nothing of the
    model changes.

    The loss is that of training, with penalties of regularizers, never scaled as in mixed
    precision. Frozen variables have no gradients.

    Args:
        model: A compiled `keras.Model` of any kind. If it is not built yet, it gets built.
        x, y: Data as for `model.fit`: arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
            torch `DataLoader` or a generator of batches.
        sample_weight: For arrays only: a weight for each row.
        rows: Number of rows, the first ones. Defaults to `256`.
        training: Whether the layers are called as in training, with dropout and with the batch's
            own statistics in batch normalization. Defaults to `False`.

    Returns:
        A `GradientStatistics`; `print` shows a table, `plot()` draws the profile over the layers.

    Raises:
        TypeError: `model` is no Keras model, or an argument is of the wrong type.
        ValueError: The model is not compiled or has nothing to train, an argument is out of its
            range, or there are no rows.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((10,))])
    for _ in range(8):
        model.add(keras.layers.Dense(10, activation="sigmoid"))
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 10))
    found = kdt.diagnostics.gradient_statistics(model, x, x[:, :1])
    assert found.first_to_last < 1e-4  # a sigmoid lets pass a quarter at most
    ```

    Reference: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, section 4.
    """
    check_compiled(model)
    rows = check_integer("rows", rows, minimum=1)
    training = check_flag("training", training)
    _, x, y, sample_weight = next(row_chunks(x, rows, y, sample_weight))
    ensure_built(model, x)
    if not model.trainable_variables:
        raise ValueError(f"`model` has nothing to train: all of '{model.name}' is frozen.")
    loss, pairs = observed_gradients(model, x, y, sample_weight, training)
    return _statistics(loss, pairs, leaf_calls(model, x, training), row_count(x))


def _statistics(loss, pairs, calls, rows):
    groups = variables_by_layer([variable for variable, _ in pairs], calls)
    layer_of = {id(v): name for name, group in groups.items() for v in group}
    names = [layer_of[id(variable)] for variable, _ in pairs]
    weights = [np.asarray(ops.convert_to_numpy(variable), "float64") for variable, _ in pairs]
    gradients = [gradient.astype("float64") for _, gradient in pairs]
    squares = np.array(
        [[np.sum(g**2), np.sum(w**2)] for g, w in zip(gradients, weights, strict=True)]
    )
    sizes = np.array([gradient.size for gradient in gradients])
    members = [np.array([name == layer for name in names]) for layer in groups]
    norm, weight_norm = np.sqrt(squares).T
    layer_norm, layer_weight_norm = np.sqrt([squares[own].sum(axis=0) for own in members]).T
    return GradientStatistics(
        loss=loss,
        variables=[variable.path for variable, _ in pairs],
        variable_layers=names,
        norm=norm,
        rms=norm / np.sqrt(sizes),
        weight_norm=weight_norm,
        ratio=_divided(norm, weight_norm),
        layers=list(groups),
        layer_norm=layer_norm,
        layer_rms=layer_norm / np.sqrt([sizes[own].sum() for own in members]),
        layer_weight_norm=layer_weight_norm,
        layer_ratio=_divided(layer_norm, layer_weight_norm),
        nan_share=np.array([1 - np.isfinite(gradient).mean() for gradient in gradients]),
        rows=rows,
    )


def _divided(norm, weight_norm):
    with np.errstate(divide="ignore", invalid="ignore"):
        return norm / weight_norm
