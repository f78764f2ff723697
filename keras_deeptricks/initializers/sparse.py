"""Sparse initialization: a fixed number of incoming weights for every unit."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Sparse(keras.initializers.RandomNormal):
    """Gives each unit a fixed number of normal incoming weights; all others are zero.

    The input of a unit then does not depend on the number of units below, and units differ from
    each other, also with large weights. Martens' choice for deep and recurrent nets of sigmoid or
    tanh units; Sutskever et al. use it with momentum.

    A unit is an entry of the last axis, its incoming weights are the entries of all others: so it
    is in the kernels of `Dense`, `Conv1D/2D/3D` and recurrent layers.

    Args:
        nonzero: Number of weights that are not zero; all are where a unit has no more. Defaults
            to `15`.
        stddev: Standard deviation of these, at least 0. Defaults to `1.0`; Sutskever et al. take
            1 for sigmoid and 0.25 for tanh units.
        seed: A whole number (the same values at every call), a `keras.random.SeedGenerator` or
            None.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or the kernel has fewer than two axes.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    kernel = keras.ops.convert_to_numpy(kdt.initializers.Sparse(15, seed=1)((100, 50)))
    assert (np.count_nonzero(kernel, axis=0) == 15).all()
    ```

    Reference: Martens, Deep learning via Hessian-free optimization, 2010, section 5; Sutskever,
    Martens, Dahl & Hinton, On the importance of initialization and momentum in deep learning,
    2013, section 3.
    """

    def __init__(self, nonzero=15, stddev=1.0, seed=None):
        self.nonzero = check_integer("nonzero", nonzero, minimum=1)
        super().__init__(stddev=check_number("stddev", stddev, minimum=0), seed=seed)

    def __call__(self, shape, dtype=None):
        shape = tuple(shape)
        if len(shape) < 2:
            raise ValueError(
                "`Sparse` needs a kernel of at least two axes, of which the last one counts the "
                f"units. Received: shape={shape}."
            )
        dtype = keras.backend.standardize_dtype(dtype or keras.config.floatx())
        for_places, for_values = _two_seeds(self.seed)
        fan_in = int(np.prod(shape[:-1]))
        draws = keras.random.uniform((fan_in, shape[-1]), dtype="float32", seed=for_places)
        # The rank of each draw among those of its unit: every rank once, also with equal draws.
        ranks = ops.argsort(ops.argsort(draws, axis=0), axis=0)
        chosen = ops.reshape(ranks < self.nonzero, shape)
        values = keras.random.normal(shape, stddev=self.stddev, dtype=dtype, seed=for_values)
        return ops.where(chosen, values, ops.zeros_like(values))

    def get_config(self):
        return {
            "nonzero": self.nonzero,
            "stddev": self.stddev,
            "seed": super().get_config()["seed"],
        }


def _two_seeds(seed):
    """Seeds for the places and the values, which must not depend on each other."""
    if isinstance(seed, keras.random.SeedGenerator):
        return seed, seed
    words = np.random.SeedSequence(abs(seed)).generate_state(2)
    # Keras 3.12 on torch takes seeds of 31 bits.
    return [int(word) % 2**31 for word in words]
