"""The bias correction of a first moment whose decay rate changes from step to step."""

import numpy as np
from keras import ops

from keras_deeptricks.utils.hyperparameters import ScheduledHyperparameters, is_schedule


class FirstMomentCorrection(ScheduledHyperparameters):
    """Mixin of Adam's family: corrects by the product of all `beta_1` so far.

    Keras divides by 1 − β₁ᵗ⁺¹ with the present β₁. When β₁ follows a schedule the weights in
    the average of gradients sum to 1 − Πβ₁; the ratio of the two goes into the rate that Keras'
    update rule is given, and so leaves weight decay alone.
    """

    def build(self, var_list):
        if self.built:
            return
        super().build(var_list)
        # There for a float too, so that a schedule may be installed, and saved, at any time.
        self.beta_1_product = self.add_variable((), initializer="ones", name="beta_1_product")

    def hyperparameter_changed(self, name, before):
        """Starts the product from the constant `beta_1` used so far."""
        if is_schedule(self.given("beta_1")) and not is_schedule(before):
            updates = int(ops.convert_to_numpy(self.iterations))
            self.beta_1_product.assign(np.float64(before) ** updates)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if is_schedule(self.given("beta_1")):
            product = self.beta_1_product * self.beta_1
            self.beta_1_product.assign(product)
            step = ops.cast(self.iterations + 1, self.beta_1_product.dtype)
            power = ops.power(ops.cast(self.beta_1, self.beta_1_product.dtype), step)
            learning_rate = learning_rate * (1 - power) / (1 - product)
        super()._backend_update_step(grads, trainable_variables, learning_rate)
