"""He initialization for a leaky rectifier of known slope."""

import keras

from keras_deeptricks.utils.checks import check_choice, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class HeLeaky(keras.initializers.VarianceScaling):
    """He initialization for a leaky ReLU: variance 2 / ((1 + a²)·fan_in).

    With slope 0 it is He's for ReLU. With it, and only with it, the variance of the
    pre-activations is the same in every layer of a deep leaky net.

    Args:
        negative_slope: The slope a below zero. Defaults to `0.0`.
        distribution: `"normal"` (truncated at two deviations, variance corrected) or
            `"uniform"`.
        seed: A whole number, a `keras.random.SeedGenerator` or None.

    Raises:
        TypeError: `negative_slope` is not a number.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    layer = keras.layers.Dense(
        100,
        activation=keras.layers.LeakyReLU(negative_slope=0.1),
        kernel_initializer=kdt.initializers.HeLeaky(0.1),
    )
    ```

    Reference: He, Zhang, Ren & Sun, Delving deep into rectifiers, 2015, equation 15.
    """

    def __init__(self, negative_slope=0.0, distribution="normal", seed=None):
        self.negative_slope = check_number("negative_slope", negative_slope)
        check_choice("distribution", distribution, ("normal", "uniform"))
        super().__init__(
            scale=2.0 / (1.0 + self.negative_slope**2),
            mode="fan_in",
            distribution="truncated_normal" if distribution == "normal" else "uniform",
            seed=seed,
        )

    def get_config(self):
        return {
            "negative_slope": self.negative_slope,
            "distribution": "uniform" if self.distribution == "uniform" else "normal",
            "seed": super().get_config()["seed"],
        }
