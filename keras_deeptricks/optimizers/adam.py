"""Adam whose first decay rate may be a schedule."""

import keras

from keras_deeptricks.optimizers.bias_correction import FirstMomentCorrection
from keras_deeptricks.optimizers.weight_decay import WeightDecay
from keras_deeptricks.utils.backend import instantiated_class
from keras_deeptricks.utils.hyperparameters import Schedulable


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Adam(WeightDecay, FirstMomentCorrection, instantiated_class(keras.optimizers.Adam)):
    """Adam whose `beta_1`, its momentum, can follow a schedule.

    With η, β₁, g the rate, first decay rate and gradient of the 0-based step t:

    ```
    m ← β₁·m + (1 − β₁)·g        s ← β₂·s + (1 − β₂)·g²
    θ ← θ − η · √(1 − β₂ᵗ⁺¹) / (1 − Πβ₁) · m / (√s + ε)
    ```

    Πβ₁ is the product of the β₁ of all steps so far, which makes the average of gradients exactly
    unbiased when β₁ changes; with a constant β₁ it is Kingma and Ba's β₁ᵗ⁺¹. (torch uses the
    power of the present β₁ instead; the two differ during the first steps.)

    Args:
        learning_rate: Float, or a schedule. Defaults to `0.001`.
        beta_1: Float from 0 to 1, or a schedule with such values below 1. Defaults to `0.9`.
        beta_2: Decay of the average of squared gradients. Defaults to `0.999`.
        epsilon: ε above, Kingma and Ba's "epsilon hat". Defaults to `1e-7`.
        amsgrad: Whether to keep the largest s. Defaults to `False`.
        **kwargs: The other arguments of `keras.optimizers.Adam`; and `decay_biases`,
            whether `weight_decay` also acts on biases and the parameters of normalization, as
            it does in Keras. Defaults to `False`.

    Raises:
        TypeError: `beta_1` is neither a number nor a schedule.
        ValueError: `beta_1` is outside 0…1.

    Example:

    ```python
    import keras_deeptricks as kdt

    cycle = kdt.schedules.OneCycle(1e-2, total_steps=1000)
    optimizer = kdt.optimizers.Adam(cycle, beta_1=cycle.momentum(0.95, 0.85))
    ```

    Reference: Kingma & Ba, Adam: a method for stochastic optimization, 2015, algorithm 1 in the
    order of section 2's last paragraph.
    """

    beta_1 = Schedulable()

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        amsgrad=False,
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            **kwargs,
        )
