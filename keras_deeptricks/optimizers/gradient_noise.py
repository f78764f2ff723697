"""Gradient noise that fades as training goes on."""

import random

import keras
from keras import ops

from keras_deeptricks.optimizers.gradient_transform import (
    GradientTransform,
    kept_variables,
    whole_model,
)
from keras_deeptricks.utils.checks import check_integer, check_number
from keras_deeptricks.utils.hyperparameters import Schedulable
from keras_deeptricks.utils.selection import check_patterns


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class GradientNoise(GradientTransform):
    """Adds Gaussian noise of a falling variance to every gradient.

    With t the number of updates before this one:

    ```
    g ← g + N(0, σ²)        σ² = η / (1 + t)^γ
    ```

    Use it for very deep or badly initialized networks that stay in poor regions. The noise of an
    update is a function of the seed, t and the variable alone: fresh every time, the same in a
    second run, after saving and loading, and whatever `steps_per_execution` is. Under gradient
    accumulation it is added once per update.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that was not trained with yet. It is copied.
        variance: η, the variance at the first update, at least 0, or a schedule of it (over
            batches, as all schedules). The paper tries 0.01, 0.3 and 1. Defaults to `0.01`.
        decay: γ, at least 0. Defaults to `0.55`.
        seed: Whole number that fixes the noise. By default it is drawn from Python's random
            numbers, which `keras.utils.set_random_seed` fixes.
        exclude: Layers, variables, names or patterns of them that get no noise.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `optimizer` is trained already, a
            `LossScaleOptimizer` or a `MultiOptimizer`: this goes inside those.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    optimizer = kdt.optimizers.GradientNoise(keras.optimizers.Adam(1e-3), variance=0.3, seed=1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    ```

    Reference: Neelakantan et al., Adding gradient noise improves learning for very deep networks,
    2015, equation 1.
    """

    noise_variance = Schedulable("variance", minimum=0)

    def __init__(self, optimizer, variance=0.01, decay=0.55, seed=None, exclude=()):
        self.noise_variance = variance
        self.noise_decay = check_number("decay", decay, minimum=0)
        if seed is None:
            seed = random.randint(1, 10**9)
        self.noise_seed = check_integer("seed", seed, minimum=0)
        self.noise_exclude = check_patterns("exclude", exclude)
        # Only a way to hand the backend's random numbers a seed that is a tensor.
        object.__setattr__(self, "_noise_generator", keras.random.SeedGenerator(0))

    def transform_config(self):
        return {
            "variance": self.given("noise_variance"),
            "decay": self.noise_decay,
            "seed": self.noise_seed,
            "exclude": list(self.noise_exclude),
        }

    def prepare(self, variables):
        kept = kept_variables(self, "GradientNoise", variables, self.noise_exclude)
        # Those of the whole model: the noise of a weight does not depend on what is frozen.
        paths, places = whole_model(self, variables)
        noisy = tuple(place if keep else None for place, keep in zip(places, kept, strict=True))
        object.__setattr__(self, "_noise_places", noisy)
        object.__setattr__(self, "_noise_count", len(paths))

    def transformed(self, gradient, variable, index, learning_rate):
        place = self._noise_places[index]
        if place is None:
            return gradient, learning_rate
        gradient = ops.convert_to_tensor(gradient)
        updates = ops.convert_to_tensor(self.iterations)
        state = self._noise_generator.state
        count = updates * self._noise_count + place
        # Seeds of different users lie far apart: torch adds the two words.
        seed = ops.stack(
            [
                ops.cast(random.Random(self.noise_seed).getrandbits(30), state.dtype),
                ops.cast(count, state.dtype),
            ]
        )
        with keras.StatelessScope(state_mapping=[(state, seed)]):
            noise = keras.random.normal(
                tuple(variable.shape), dtype="float32", seed=self._noise_generator
            )
        variance = self.noise_variance / ops.power(
            ops.cast(updates, "float32") + 1.0, self.noise_decay
        )
        noise = ops.cast(ops.sqrt(variance) * noise, gradient.dtype)
        return gradient + noise, learning_rate
