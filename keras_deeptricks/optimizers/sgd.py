"""Stochastic gradient descent whose momentum may be a schedule."""

import keras
from keras import ops

from keras_deeptricks.optimizers.weight_decay import WeightDecay
from keras_deeptricks.utils.backend import instantiated_class
from keras_deeptricks.utils.hyperparameters import (
    Schedulable,
    ScheduledHyperparameters,
    is_schedule,
)

# Keras builds the velocity, and reads it, only where momentum is not zero.
_NOT_ZERO = 0.9
# Keras' fused torch update leaves the velocity stale at a momentum of exactly zero.
_NEARLY_ZERO = 1e-30


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class SGD(WeightDecay, ScheduledHyperparameters, instantiated_class(keras.optimizers.SGD)):
    """Gradient descent with (Nesterov) momentum that can follow a schedule.

    Keras' `SGD` freezes `momentum` into the compiled step. Here it may be a schedule, evaluated
    once per step beside the learning rate, as 1cycle and Sutskever's rising momentum need.
    With η and m the rate and momentum of the 0-based step t and g the gradient:

    ```
    v ← m·v − η·g
    θ ← θ + v                  (nesterov=False)
    θ ← θ + m·v − η·g          (nesterov=True)
    ```

    This is Keras' rule. The rate is inside the velocity, so a falling rate lets old gradients
    keep the rate they were taken with; `torch.optim.SGD` keeps the rate outside (v ← m·v + g,
    θ ← θ − η·v) and applies the newest rate to all of them. Sutskever et al. write Nesterov's
    look-ahead with the momentum of the coming step, Keras with that of the present one.

    Args:
        learning_rate: Float, or a schedule. Defaults to `0.01`.
        momentum: Float from 0 to 1, or a schedule with such values. Defaults to `0.0`.
        nesterov: Whether to look ahead. Defaults to `False`.
        **kwargs: The other arguments of `keras.optimizers.SGD`, such as `weight_decay`,
            `global_clipnorm`, `use_ema` or `gradient_accumulation_steps`; and `decay_biases`,
            whether `weight_decay` also acts on biases and the parameters of normalization, as
            it does in Keras. Defaults to `False`.

    Raises:
        TypeError: `momentum` is neither a number nor a schedule.
        ValueError: `momentum` is outside 0…1.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    cycle = kdt.schedules.OneCycle(0.1, total_steps=1000)
    optimizer = kdt.optimizers.SGD(cycle, momentum=cycle.momentum(0.95, 0.85), nesterov=True)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    ```

    Reference: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and momentum
    in deep learning, 2013, equations 1–4.
    """

    momentum = Schedulable()

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, **kwargs):
        super().__init__(
            learning_rate=learning_rate, momentum=_NOT_ZERO, nesterov=nesterov, **kwargs
        )
        self.momentum = momentum

    def hyperparameter_changed(self, name, before):
        """Gives an optimizer that was built without momentum its velocities."""
        if self.momentum != 0 and not self.momentums:
            self.momentums = self.add_optimizer_variables(self._trainable_variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        if not is_schedule(self.given("momentum")):
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = ops.cast(self.momentum, variable.dtype)
        change = ops.cast(gradient, variable.dtype) * ops.cast(learning_rate, variable.dtype)
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, momentum * velocity - change)
        if self.nesterov:
            self.assign_add(variable, momentum * velocity - change)
        else:
            self.assign_add(variable, velocity)

    def _parallel_update_step(self, grads, variables, learning_rate):
        # Keras calls this one on torch, instead of `update_step`.
        if self.step_values.get("momentum") == 0:
            self.step_values["momentum"] = _NEARLY_ZERO
        super()._parallel_update_step(grads, variables, learning_rate)
