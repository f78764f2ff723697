"""The loss of a data set as a function of a model's kernels."""

import contextlib
import inspect

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.pruning.kernels import kernels_of
from keras_deeptricks.utils.backend import random_order_preserved
from keras_deeptricks.utils.batches import is_arrays
from keras_deeptricks.utils.checks import check_built, check_integer
from keras_deeptricks.utils.compiled_step import check_compiled
from keras_deeptricks.utils.layer_probe import LossGradients, tensors_of
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.row_chunks import batches_of_dataset, row_chunks
from keras_deeptricks.utils.training_state import preserved

_DEFAULT_ROWS = 256


class DataLoss:
    """The loss of batches, in inference mode and full precision, by the values of the kernels.

    The loss is that of training, with the weights of samples and the penalties of regularizers. Use
    it inside `with loss.ready():`, which puts the model back as it was.

    Args:
        model: A built model, compiled with a loss.
        x: Arrays, or anything that yields batches (inputs, targets, weights).
        y, sample_weight: For arrays only.
        batch_size: Rows of a batch, for arrays only. Defaults to 256.
        steps: Number of batches to take, by default all there are.

    Attributes:
        kernels: The kernels, a dictionary as of `kernels_of`.
        size: The number of weights in them.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or the model has no kernel, is not built or
            not compiled.
    """

    def __init__(self, model, x, y=None, sample_weight=None, batch_size=None, steps=None):
        check_built("model", model)
        check_compiled(model)
        if batch_size is not None:
            batch_size = check_integer("batch_size", batch_size, minimum=1)
            if not is_arrays(x):
                raise ValueError(
                    "`batch_size` goes with arrays only: a data set has batches of its own. "
                    f"Received: batch_size={batch_size} with x of type {type(x).__name__}."
                )
        if steps is not None:
            steps = check_integer("steps", steps, minimum=1)
        self.model, self.kernels = model, kernels_of(model)
        if not self.kernels:
            raise ValueError(f"`model` has no weights that can be pruned: '{model.name}'.")
        self.data, self.batch_size, self.steps = (x, y, sample_weight), batch_size, steps
        self._shapes = [kernel.shape for kernel in self.kernels.values()]
        self.size = sum(int(np.prod(shape)) for shape in self._shapes)
        self._variables = [kernel.variable for kernel in self.kernels.values()]
        known = {id(variable) for variable in self._variables}
        self._others = [v for v in model.variables if id(v) not in known]
        takes_training = "training" in inspect.signature(model.compute_loss).parameters
        self._options = {"training": False} if takes_training else {}

    @contextlib.contextmanager
    def ready(self):
        """Computes in full precision while it lasts; then the model is as before."""
        with random_order_preserved(), preserved(self.model), in_full_precision(self.model):
            yield

    def batches(self):
        """Yields (number of rows, (inputs, targets, weights)), NumPy arrays.

        Raises:
            ValueError: The data is empty, or numbers of rows do not agree.
        """
        x, y, sample_weight = self.data
        if is_arrays(x):
            size = self.batch_size or _DEFAULT_ROWS
            chunks = row_chunks(x, size, y, sample_weight, batch_size=size, steps=self.steps)
            batches = (tuple(parts) for _, *parts in chunks)
        elif y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` go with arrays only: a data set yields them beside `x`."
            )
        else:
            batches = batches_of_dataset(x, self.steps)
        found = False
        for batch in batches:
            if not found:
                if batch[1] is None and self.model.loss is not None:
                    raise ValueError(
                        "`y` is missing: the targets that the loss of the model compares its "
                        "outputs with; in a data set, or in `saliency_data`, they stand beside the "
                        "inputs. Received: y=None."
                    )
                # A loss may build itself on its first call.
                LossGradients(self.model, False).prepare(*map(tensors_of, batch))
            found = True
            yield len(keras.tree.flatten(batch[0])[0]), batch
        if not found:
            raise ValueError("`x` is empty: it yields no rows.")

    def point(self):
        """(All kernels as one vector, the values of the other variables), tensors."""
        flat = [ops.reshape(ops.cast(v.value, self.dtype), (-1,)) for v in self._variables]
        return ops.concatenate(flat), [ops.convert_to_tensor(v.value) for v in self._others]

    @property
    def dtype(self):
        """The type of the vector: float64 where the first kernel is, else float32."""
        return "float64" if self._variables[0].dtype == "float64" else "float32"

    def outputs(self, vector, others, x):
        """The outputs of the model with these values."""
        with keras.StatelessScope(self._mapping(vector, others)):
            return self.model(x, training=False)

    def loss(self, vector, others, data):
        """The loss of a batch with these values, a scalar tensor."""
        x, y, sample_weight = data
        with keras.StatelessScope(self._mapping(vector, others), collect_losses=True):
            outputs = self.model(x, training=False)
            loss = self.model.compute_loss(x, y, outputs, sample_weight, **self._options)
        return ops.cast(loss, self.dtype)

    def loss_of_outputs(self, outputs, others, vector, data):
        """The loss of a batch with these outputs of the model."""
        x, y, sample_weight = data
        with keras.StatelessScope(self._mapping(vector, others), collect_losses=True):
            loss = self.model.compute_loss(x, y, outputs, sample_weight, **self._options)
        return ops.cast(loss, self.dtype)

    def penalties(self, vector):
        """The penalties of the kernels' regularizers."""
        total = ops.sum(vector) * 0
        for variable, value in zip(self._variables, self._parts(vector), strict=True):
            # Keras leaves those of frozen weights out.
            if variable.regularizer is not None and variable.trainable:
                total = total + ops.cast(variable.regularizer(value), self.dtype)
        return total

    def by_path(self, vector):
        """A NumPy vector of one value for each weight, as a dictionary of arrays."""
        parts = np.split(np.asarray(vector), np.cumsum([np.prod(s) for s in self._shapes])[:-1])
        arrays = (part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True))
        return dict(zip(self.kernels, arrays, strict=True))

    def _parts(self, vector):
        first, parts = 0, []
        for shape in self._shapes:
            size = int(np.prod(shape))
            parts.append(ops.reshape(vector[first : first + size], shape))
            first += size
        return parts

    def _mapping(self, vector, others):
        return [
            *zip(self._variables, self._parts(vector), strict=True),
            *zip(self._others, others, strict=True),
        ]


@contextlib.contextmanager
def in_full_precision(model):
    """While it lasts, layers of a mixed policy compute in the precision of their variables."""
    changed = []
    try:
        for layer in walk_layers(model):
            policy = layer.dtype_policy
            mixed = policy.compute_dtype != policy.variable_dtype
            if mixed and type(policy) is keras.dtype_policies.DTypePolicy:
                changed.append((layer, policy))
                layer.dtype_policy = policy.variable_dtype
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy
