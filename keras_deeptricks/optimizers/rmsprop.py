"""RMSprop whose momentum may be a schedule and may look ahead (Nesterov)."""

import keras
from keras import ops

from keras_deeptricks.optimizers.weight_decay import WeightDecay
from keras_deeptricks.utils.backend import instantiated_class
from keras_deeptricks.utils.checks import check_flag
from keras_deeptricks.utils.hyperparameters import (
    Schedulable,
    ScheduledHyperparameters,
    is_schedule,
)

# Keras keeps a velocity only where momentum is above zero.
_ABOVE_ZERO = 0.9


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class RMSprop(WeightDecay, ScheduledHyperparameters, instantiated_class(keras.optimizers.RMSprop)):
    """RMSprop with plain or Nesterov momentum that can follow a schedule.

    Keras' `RMSprop` has a fixed, plain momentum. With η, m, g the rate, momentum and gradient of
    the 0-based step t, and all operations elementwise:

    ```
    r ← ρ·r + (1 − ρ)·g²
    u ← η·g / √(r + ε)
    v ← m·v + u
    θ ← θ − v                  (nesterov=False)
    θ ← θ − (m·v + u)          (nesterov=True)
    ```

    With `nesterov=True` the variables are the ones that are ahead: the gradient is taken at
    θ + m·v, as in the textbook's "interim update", and no second copy is kept.

    Args:
        learning_rate: Float, or a schedule. Defaults to `0.001`.
        rho: Decay of the average of squared gradients. Defaults to `0.9`.
        momentum: Float from 0 to 1, or a schedule with such values. Defaults to `0.0`.
        epsilon: ε above, inside the root. Defaults to `1e-7`.
        centered: Whether to subtract the squared mean gradient from r. Defaults to `False`.
        nesterov: Whether to look ahead; needs a momentum. Defaults to `False`.
        **kwargs: The other arguments of `keras.optimizers.RMSprop`; and `decay_biases`,
            whether `weight_decay` also acts on biases and the parameters of normalization, as
            it does in Keras. Defaults to `False`.

    Raises:
        TypeError: `momentum` is neither a number nor a schedule.
        ValueError: `momentum` is outside 0…1, or `nesterov=True` with a momentum of 0.

    Example:

    ```python
    import keras_deeptricks as kdt

    optimizer = kdt.optimizers.RMSprop(1e-3, momentum=0.9, nesterov=True)
    ```

    Reference: Goodfellow, Bengio & Courville, Deep Learning, 2016, algorithm 8.6.
    """

    momentum = Schedulable()

    def __init__(
        self,
        learning_rate=0.001,
        rho=0.9,
        momentum=0.0,
        epsilon=1e-7,
        centered=False,
        nesterov=False,
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate,
            rho=rho,
            momentum=_ABOVE_ZERO,
            epsilon=epsilon,
            centered=centered,
            **kwargs,
        )
        self.momentum = momentum
        self.nesterov = check_flag("nesterov", nesterov)
        if nesterov and self.momentum == 0:
            raise ValueError(
                "`nesterov=True` needs a momentum to look ahead with. Received: momentum=0. "
                "Pass e.g. momentum=0.9, or nesterov=False."
            )

    def build(self, var_list):
        if self.built:
            return
        # Keras compares `momentum` with 0, which a schedule does not allow.
        given = self.given("momentum")
        # A file knows variables by their order, in which the centred averages follow the
        # velocities: those cannot come later.
        if is_schedule(given) or self.centered:
            object.__setattr__(self, "_given_momentum", _ABOVE_ZERO)
        try:
            super().build(var_list)
        finally:
            object.__setattr__(self, "_given_momentum", given)

    def hyperparameter_changed(self, name, before):
        """Gives an optimizer that was built without momentum its velocities."""
        if self.momentum != 0 and not self._momentums:
            self._momentums = self.add_optimizer_variables(self._trainable_variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        if not is_schedule(self.given("momentum")) and not self.nesterov:
            super().update_step(gradient, variable, learning_rate)
            return
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        momentum = ops.cast(self.momentum, dtype)
        square, velocity = self._velocities[index], self._momentums[index]
        self.assign(square, self.rho * square + (1 - self.rho) * ops.square(gradient))
        spread = ops.convert_to_tensor(square)
        if self.centered:
            mean = self._average_gradients[index]
            self.assign(mean, self.rho * mean + (1 - self.rho) * gradient)
            spread = spread - ops.square(mean)
        change = ops.cast(learning_rate, dtype) * gradient / ops.sqrt(spread + self.epsilon)
        self.assign(velocity, momentum * velocity + change)
        if self.nesterov:
            self.assign_sub(variable, momentum * velocity + change)
        else:
            self.assign_sub(variable, velocity)

    def _parallel_update_step(self, grads, variables, learning_rate):
        # Keras calls this one on torch, instead of `update_step`.
        if is_schedule(self.given("momentum")) or self.nesterov:
            for gradient, variable in zip(grads, variables, strict=True):
                self.update_step(gradient, variable, learning_rate)
        else:
            super()._parallel_update_step(grads, variables, learning_rate)

    def get_config(self):
        return {**super().get_config(), "nesterov": self.nesterov}
