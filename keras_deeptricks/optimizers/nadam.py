"""Nadam whose first decay rate may be a schedule."""

import keras

from keras_deeptricks.optimizers.weight_decay import WeightDecay
from keras_deeptricks.utils.backend import instantiated_class
from keras_deeptricks.utils.hyperparameters import Schedulable, ScheduledHyperparameters


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Nadam(WeightDecay, ScheduledHyperparameters, instantiated_class(keras.optimizers.Nadam)):
    """Adam with Nesterov's look-ahead, whose `beta_1` can follow a schedule.

    With η, β₁, g the rate, first decay rate and gradient of the 0-based step t, n = t + 1 and
    Keras' warmed-up momentum μ(n) = β₁·(1 − 0.5·0.96ⁿ), Πμ its product over the steps so far:

    ```
    m ← β₁·m + (1 − β₁)·g        s ← β₂·s + (1 − β₂)·g²
    m̂ = μ(n+1)·m / (1 − Πμ·μ(n+1)) + (1 − μ(n))·g / (1 − Πμ)
    θ ← θ − η · m̂ / (√(s / (1 − β₂ⁿ)) + ε)
    ```

    (Dozat's own warm-up, 0.96 to the power of n/250, is slower; see the page on optimizers.) The
    look-ahead μ(n+1) uses the β₁ of the present step, which a smooth schedule hardly changes.

    Args:
        learning_rate: Float, or a schedule. Defaults to `0.001`.
        beta_1: Float from 0 to 1, or a schedule with such values below 1. Defaults to `0.9`.
        beta_2: Decay of the average of squared gradients. Defaults to `0.999`.
        epsilon: ε above. Defaults to `1e-7`.
        **kwargs: The other arguments of `keras.optimizers.Nadam`; and `decay_biases`,
            whether `weight_decay` also acts on biases and the parameters of normalization, as
            it does in Keras. Defaults to `False`.

    Raises:
        TypeError: `beta_1` is neither a number nor a schedule.
        ValueError: `beta_1` is outside 0…1.

    Example:

    ```python
    import keras_deeptricks as kdt

    cycle = kdt.schedules.OneCycle(5e-3, total_steps=1000)
    optimizer = kdt.optimizers.Nadam(cycle, beta_1=cycle.momentum(0.95, 0.85))
    ```

    Reference: Dozat, Incorporating Nesterov momentum into Adam, 2015, algorithm 2.
    """

    beta_1 = Schedulable()

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **kwargs):
        super().__init__(
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            **kwargs,
        )

    def build(self, var_list):
        if self.built:
            return
        super().build(var_list)
        if not any(variable is self._u_product for variable in self.variables):
            # Built inside a LossScaleOptimizer, Keras leaves Πμ out of the optimizer's variables,
            # and JAX then never updates it.
            self._u_product = self.add_variable(
                (), initializer="ones", dtype=self._u_product.dtype, name="momentum_product"
            )
