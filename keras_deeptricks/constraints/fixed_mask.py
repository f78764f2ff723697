"""A fixed mask: entries of a weight that stay exactly zero, whatever an optimizer does."""

import base64
import math
import zlib

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.backend import runs_eagerly


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class FixedMask(keras.constraints.Constraint):
    """Keeps the masked entries of a weight exactly zero in training.

    `keras_deeptricks.models.pruning.prune` gives one to every weight that it prunes. After each
    update of the optimizer, its momentum included, the pruned entries are 0 again; gradients,
    and the slots of the optimizer, are left as they are. So the gradients of pruned entries still
    count in the norms by which an optimizer clips (`clipnorm`, `global_clipnorm`). The mask is a
    part of the layer's configuration, 1 bit for an entry and compressed: saved files, `clone_model`
    and `from_config` carry it. It cannot be told from the zeros of a weight, which an update has
    moved before a constraint is called, and an entry can be zero without being pruned.

    A mask does not change. To put others on a model that is compiled, such as those of weights
    that it has loaded, use `keras_deeptricks.models.pruning.set_masks`, for a compiled training
    step holds the mask as a constant.

    Args:
        mask: Array of the shape of the weight: True or 1 where it is trained, False or 0 where it
            is zero. Or what `get_config` has for it.
        constraint: Another constraint, such as `keras_deeptricks.constraints.MaxNorm`, or its
            name. It gets the weight with its zeros, and what it returns is masked again.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `mask` is empty or has other values; or, when a weight is constrained, another
            shape than the weight.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    mask = np.array([[1, 0], [0, 1]])
    layer = keras.layers.Dense(2, kernel_constraint=kdt.constraints.FixedMask(mask))
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 2)), np.ones((8, 2)), verbose=0)
    kernel = model.get_weights()[0]
    assert kernel[0, 1] == kernel[1, 0] == 0 and kernel[0, 0] != 0
    ```

    Reference: Han, Pool, Tran & Dally, Learning both weights and connections for efficient neural
    networks, 2015, section 3.
    """

    def __init__(self, mask, constraint=None):
        self.mask = _decoded(mask) if isinstance(mask, dict) else _checked(mask)
        self.mask.flags.writeable = False
        self.constraint = _check_constraint(constraint)
        self._tensor = None

    def with_mask(self, mask):
        """A constraint with another mask, and this one's other constraint."""
        return FixedMask(mask, self.constraint)

    def __call__(self, w):
        w = ops.convert_to_tensor(w)
        if tuple(w.shape) != self.mask.shape:
            raise ValueError(
                "`mask` must have the shape of the weight that it constrains. Received: a mask of "
                f"shape {self.mask.shape} for a weight of shape {tuple(w.shape)}."
            )
        keep, zeros = self._mask_beside(w), ops.zeros_like(w)
        # A product would leave NaN, and infinities, as NaN.
        w = ops.where(keep, w, zeros)
        return w if self.constraint is None else ops.where(keep, self.constraint(w), zeros)

    def _mask_beside(self, w):
        """The mask as a tensor; kept where each step would bring it to the device again."""
        if not runs_eagerly():
            return ops.convert_to_tensor(self.mask, dtype="bool")
        if self._tensor is None or self._tensor.device != w.device:
            self._tensor = ops.convert_to_tensor(self.mask.copy(), dtype="bool")
        return self._tensor

    def get_config(self):
        return {
            "mask": _encoded(self.mask),
            "constraint": keras.constraints.serialize(self.constraint),
        }


def _checked(mask):
    rule = "`mask` must be an array of True and False, or of 1 and 0."
    if mask is None or isinstance(mask, (str, bytes)):
        raise TypeError(f"{rule} Received: mask={mask!r}.")
    try:
        array = np.asarray(mask if isinstance(mask, (list, tuple)) else ops.convert_to_numpy(mask))
    except Exception as error:
        raise TypeError(f"{rule} Received: mask of type {type(mask).__name__}.") from error
    if array.dtype != bool and not np.issubdtype(array.dtype, np.number):
        raise TypeError(f"{rule} Received: mask of dtype {array.dtype}.")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{rule} Received: mask of shape {array.shape}.")
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{rule} Received other values: mask={array!r}.")
    return array.astype(bool)


def _check_constraint(constraint):
    if constraint is None:
        return None
    try:
        found = keras.constraints.get(constraint)
    except (TypeError, ValueError) as error:
        raise type(error)(_constraint_rule(constraint)) from error
    if not isinstance(found, keras.constraints.Constraint):
        raise TypeError(_constraint_rule(constraint))
    return found


def _constraint_rule(constraint):
    return (
        "`constraint` must be a keras.constraints.Constraint, its name or None. "
        f"Received: constraint={constraint!r}."
    )


def _encoded(mask):
    """A mask as text: its bits, compressed, in base 64."""
    bits = zlib.compress(np.packbits(mask.ravel()).tobytes(), 9)
    return {"shape": list(mask.shape), "bits": base64.b64encode(bits).decode("ascii")}


def _decoded(text):
    try:
        shape = tuple(int(size) for size in text["shape"])
        count = math.prod(shape)
        size = -(-count // 8)
        # Not much more than it says: a damaged file must not fill the memory.
        data = zlib.decompressobj().decompress(base64.b64decode(text["bits"]), max(size, 0) + 1)
        if count < 1 or min(shape) < 1 or len(data) != size:
            raise ValueError(f"{len(data)} bytes for the shape {shape}")
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(
            "`mask` must be an array, or the text that `get_config` made of one. This text is "
            f"damaged: {error}."
        ) from error
    bits = np.unpackbits(np.frombuffer(data, "uint8"), count=count)
    return bits.astype(bool).reshape(shape)
