"""The randomized leaky rectifier."""

import keras
from keras import ops

from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class RReLU(keras.layers.Layer):
    """Leaky ReLU whose slope below zero is random in training, by element and step.

    f(x) = x for x ≥ 0 and α·x below, with α ~ U(`lower`, `upper`) in training and the mean slope
    (`lower` + `upper`)/2 in inference. The noise regularizes; use it where a leaky ReLU overfits.
    Equal bounds make it an ordinary leaky ReLU. `keras_deeptricks.models.MonteCarlo` draws the
    slopes too.

    Definitions differ. The defaults and the mean slope are those of torch. Xu et al. divide by a
    number drawn from 3 … 8 and in inference by its mean 5.5, a slope of 0.182 instead of 0.229.
    Some courses give the range 0.1 … 0.5.

    Args:
        lower: The smallest slope, at least 0. Defaults to `1/8`.
        upper: The largest slope, at least `lower`. Defaults to `1/3`.
        seed: A whole number or None.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: any. Output shape: the same.

    Raises:
        TypeError: A bound is not a number.
        ValueError: 0 ≤ `lower` ≤ `upper` does not hold.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    layer = kdt.layers.RReLU(0.1, 0.5, seed=1)
    x = np.array([[-1.0, 2.0]], "float32")
    assert np.allclose(layer(x), [[-0.3, 2.0]])
    drawn = keras.ops.convert_to_numpy(layer(x, training=True))
    assert -0.5 <= drawn[0, 0] <= -0.1 and drawn[0, 1] == 2
    ```

    Reference: Xu, Wang, Chen & Li, Empirical evaluation of rectified activations in convolutional
    network, 2015, section 2.4.
    """

    def __init__(self, lower=1 / 8, upper=1 / 3, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.lower = check_number("lower", lower, minimum=0)
        self.upper = check_number("upper", upper, minimum=0)
        if self.lower > self.upper:
            raise ValueError(
                "`lower` must not be above `upper`. "
                f"Received: lower={self.lower}, upper={self.upper}."
            )
        self.seed = None if seed is None else check_integer("seed", seed, minimum=0)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.supports_masking = True

    def call(self, inputs, training=False):
        if not training or self.lower == self.upper:
            return leaky(inputs, (self.lower + self.upper) / 2)
        slopes = keras.random.uniform(
            ops.shape(inputs),
            self.lower,
            self.upper,
            dtype=self.compute_dtype,
            seed=self.seed_generator,
        )
        return leaky(inputs, slopes)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "lower": self.lower,
            "upper": self.upper,
            "seed": self.seed,
        }


def leaky(x, slopes):
    """x where it is at least 0, and slope · x below."""
    return ops.where(x >= 0, x, x * slopes)
