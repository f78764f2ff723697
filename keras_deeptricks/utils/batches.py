"""What is asked of training data before `fit` sees it, whatever form it has."""

import keras
import numpy as np
from keras import ops


def is_arrays(x):
    """True for an array, or a list, tuple or dictionary of arrays, with rows along axis 0."""
    leaves = keras.tree.flatten(x)
    return bool(leaves) and all(
        hasattr(leaf, "shape") and hasattr(leaf, "__getitem__") and not _is_dataset(leaf)
        for leaf in leaves
    )


def row_count(x):
    """The number of rows of arrays."""
    return int(keras.tree.flatten(x)[0].shape[0])


def take_rows(x, rows):
    """The given rows of arrays, as NumPy arrays; None stays None."""
    return keras.tree.map_structure(
        lambda leaf: None if leaf is None else np.asarray(ops.convert_to_numpy(leaf))[rows], x
    )


def first_inputs(x):
    """The inputs of one batch of `x`: two rows of arrays, or the first batch of a data set.

    Raises:
        ValueError: `x` can only be read once (a generator), or is empty.
    """
    if is_arrays(x):
        return take_rows(x, slice(0, 2))
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    elif hasattr(x, "__iter__") and not hasattr(x, "__next__"):
        batch = next(iter(x), None)
        if batch is None:
            raise ValueError("`x` is empty: it yields no batch.")
    else:
        raise ValueError(
            "`x` is a generator, of which a batch cannot be looked at without losing it. Build "
            "the model first, by calling it on a batch, or pass arrays, a tf.data.Dataset or a "
            "keras.utils.PyDataset."
        )
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def ensure_built(model, x):
    """Builds a model that does not know its input shape yet, on a batch of `x`.

    Variables that the model has before, such as the states of seed generators, keep their values.
    """
    if model.built:
        return
    before = [(v, np.array(ops.convert_to_numpy(v))) for v in model.variables]
    inputs = keras.tree.map_structure(ops.convert_to_tensor, first_inputs(x))
    if isinstance(model, keras.Sequential):
        # Called on a batch it would be bound to its number of rows.
        inputs = keras.tree.map_structure(
            lambda t: keras.KerasTensor((None, *t.shape[1:]), dtype=_dtype(t)), inputs
        )
    model(inputs, training=False)
    for variable, value in before:
        variable.assign(value)


def _dtype(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


def _is_dataset(value):
    return isinstance(value, keras.utils.PyDataset) or hasattr(value, "element_spec")
