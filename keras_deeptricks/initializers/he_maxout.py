"""He initialization for maxout units."""

import keras
import numpy as np

from keras_deeptricks.utils.checks import check_choice, check_integer


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class HeMaxout(keras.initializers.VarianceScaling):
    """He initialization for maxout: variance 1 / (m·fan_in), m the mean square of the maximum.

    m = E[max(z₁, …, z_k)²] of k independent standard normal numbers: 1 for one and two pieces,
    1.276 for three, 1.551 for four, 1.800 for five. Then the mean square of the signal is the
    same in every layer of a deep maxout net, as it is with He's for ReLU. It depends on fan_in
    alone, which is that of a piece in the kernels of `keras_deeptricks.layers.Maxout` and
    `MaxoutConv2D` (fan_out there counts all pieces).

    Args:
        pieces: The number k of affine pieces, at least 1. Defaults to `2`.
        distribution: `"normal"` (truncated at two deviations, variance corrected) or
            `"uniform"`.
        seed: A whole number, a `keras.random.SeedGenerator` or None.

    Raises:
        TypeError: `pieces` is not a whole number.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    initializer = kdt.initializers.HeMaxout(3, seed=1)
    layer = kdt.layers.Maxout(100, pieces=3, kernel_initializer=initializer)
    ```

    Reference: Tseran & Montúfar, On the expected complexity of maxout networks, 2021, section 5;
    He, Zhang, Ren & Sun, Delving deep into rectifiers, 2015, equation 10.
    """

    def __init__(self, pieces=2, distribution="normal", seed=None):
        self.pieces = check_integer("pieces", pieces, minimum=1)
        check_choice("distribution", distribution, ("normal", "uniform"))
        super().__init__(
            scale=1.0 / mean_square_of_maximum(self.pieces),
            mode="fan_in",
            distribution="truncated_normal" if distribution == "normal" else "uniform",
            seed=seed,
        )

    def get_config(self):
        return {
            "pieces": self.pieces,
            "distribution": "uniform" if self.distribution == "uniform" else "normal",
            "seed": super().get_config()["seed"],
        }


def mean_square_of_maximum(count):
    """E[max(z₁, …, z_k)²] of independent standard normal numbers, ∫ z²·k·φ(z)·Φ(z)ᵏ⁻¹ dz."""
    # The integrand vanishes at the ends, where the trapezoidal rule is exact to rounding.
    z = np.linspace(-10.0, 10.0, 4001)
    step = z[1] - z[0]
    density = np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)
    share = np.cumsum(density) * step - density * step / 2
    return float(np.sum(np.square(z) * count * density * share ** (count - 1)) * step)
